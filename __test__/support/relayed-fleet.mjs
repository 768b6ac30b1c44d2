// A fleet over Redis, a relay beside it in a process of its own, and clients of posthog-node that know only the relay.

import { PostHog } from 'posthog-node'

import { now } from '../../dev/harness/clock.mjs'
import { Fleet } from '../../dev/harness/fleet.mjs'
import { freePort } from '../../dev/harness/redis.mjs'
import { OURS } from '../../dev/harness/providers.mjs'
import { environment, startCli } from './cli.mjs'
import { standIn, versionOf } from './client.mjs'
import { addEveryKind } from './every-kind.mjs'
import { redisFor } from './stores.mjs'

export const POLL_MS = 500

/** `{ api, redis, fleet, host, startRelay(), startClient() }`; nothing of it has begun but Redis and the stand-in for PostHog. */
export async function openRelayedFleet(t) {
  const [api, redis, port] = [await standIn(t), await redisFor(t), await freePort()]
  api.edit(addEveryKind)
  const host = `http://127.0.0.1:${port}`
  const options = { url: redis.url, refreshIntervalMs: POLL_MS }
  const fleet = new Fleet({ api, kind: OURS, options, pollingIntervalMs: POLL_MS, sharedEtag: true })
  t.after(() => fleet.destroy())

  return {
    api,
    redis,
    fleet,
    host,
    /** Resolves once it listens: `{ child, ended }`. */
    async startRelay() {
      const args = ['relay', '--port', String(port), '--refresh-interval-ms', String(POLL_MS)]
      const started = startCli(args, { env: environment({ url: redis.url, api }), timeoutMs: 180_000 })
      t.after(() => started.child.kill('SIGKILL'))
      await started.line()
      return started
    },
    /** A client without a provider; `statuses`: what its requests for definitions were answered with, 0 for no answer. */
    startClient() {
      const statuses = []
      const fetchNoting = async (url, options) => {
        if (!String(url).includes('/flags/definitions')) return fetch(url, options)
        const response = await fetch(url, options).catch((error) => {
          statuses.push(0)
          throw error
        })
        statuses.push(response.status)
        return response
      }
      const client = new PostHog(api.projectKey, {
        host,
        secretKey: api.secretKey,
        featureFlagsPollingInterval: POLL_MS,
        fetch: fetchNoting,
      })
      client.on('error', () => {})
      t.after(() => client.shutdown())
      const polls = async (n) => {
        for (const until = statuses.length + n; statuses.length < until; ) await new Promise((resolve) => setTimeout(resolve, 20))
      }
      return {
        client,
        statuses,
        /** Resolves after so many more polls. */
        polls,
        ready: () => client.waitForLocalEvaluationReady(20_000),
        version: () => versionOf(client),
        /** Resolves with the number of polls after which it evaluates `version`. */
        async until(version) {
          // Not from poll to poll: its answer is noted before the client has taken it.
          for (const from = statuses.length; statuses.length <= from + 20; ) {
            if ((await versionOf(client)) === version) return statuses.length - from
            await new Promise((resolve) => setTimeout(resolve, 20))
          }
          throw new Error(`it still evaluates ${await versionOf(client)}`)
        },
      }
    },
    /** Fails if PostHog was called more than once per interval since `from`, of which `calls` had been made. */
    assertPaced(from, calls) {
      const elapsedMs = now() - from
      const [made, most] = [api.calls.length - calls, 1 + Math.floor(elapsedMs / (POLL_MS * 0.9))]
      if (made > most) throw new Error(`${made} calls in ${elapsedMs} ms, where ${most} are allowed`)
    },
  }
}
