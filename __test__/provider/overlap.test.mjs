// Calls that overlap, and two PostHog clients that share one cache object by mistake.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { PostHog } from 'posthog-node'

import { runNode } from '../support/child.mjs'
import { openCache, standIn, versionOf } from '../support/client.mjs'
import { newProjectKey, STORES } from '../support/stores.mjs'

/** All methods at once, again and again; status() locks on the main thread, so that a deadlock ends the process. */
const STRESS = `
  const { FlagDefinitionCache } = require('posthog-flag-cache')
  const { projectKey, url } = process.env
  const host = 'http://posthog.invalid'
  const definitions = (number) => ({ flags: [{ key: 'a', number }], cohorts: {} })
  const answers = [
    async (number) => new Response(JSON.stringify(definitions(number)), { headers: { etag: '"' + number + '"' } }),
    async () => new Response(null, { status: 304 }),
    async () => new Response(null, { status: 500 }),
    async () => new Response('<html>'),
    async () => { throw new TypeError('fetch failed') },
  ]
  async function main() {
    const cache = new FlagDefinitionCache({ projectKey, url, refreshIntervalMs: 100, coldStartWaitMs: 20 })
    cache.onError(() => {})
    cache.onUpdate(() => cache.getFlagDefinitions())
    let calls = 0
    const fetch = cache.withFetch(() => answers[(calls += 1) % answers.length](calls))
    for (let round = 0; round < 300; round += 1) {
      const all = Promise.allSettled([
        cache.shouldFetchFlagDefinitions(),
        cache.getFlagDefinitions(),
        cache.onFlagDefinitionsReceived(definitions(round)),
        fetch(host + '/flags/definitions?token=' + projectKey).then((response) => response.json()),
        cache.onFlagDefinitionsReceived(definitions(-round)),
        ...(round % 10 ? [] : [cache.invalidate()]),
        // Most polls follow.
        ...Array.from({ length: 24 }, (_, n) => (n % 2 ? cache.shouldFetchFlagDefinitions() : cache.getFlagDefinitions())),
      ])
      for (let n = 0; n < 20; n += 1) {
        cache.status()
        await new Promise(setImmediate)
      }
      await all
    }
    await cache.onFlagDefinitionsReceived(definitions('last')).catch(() => {})
    const { flags } = await cache.getFlagDefinitions()
    await cache.shutdown()
    process.stdout.write(String(flags.length))
  }
  main()
`

describe('all methods may be called at once, over', () => {
  for (const kind of ['redis', 'directory', 'memory']) {
    test(kind, async (t) => {
      const store = await STORES[kind]()
      t.after(() => store.close())
      const env = { projectKey: newProjectKey(), url: store.url }
      const { stdout, stderr, code } = await runNode(STRESS, { env, timeoutMs: 60_000 })
      assert.deepEqual({ stdout, stderr, code }, { stdout: '1', stderr: '', code: 0 })
    })
  }
})

/** Resolves once the client evaluates that version. */
function evaluates(client, version) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`it does not evaluate ${version}`)), 10_000)
    const stop = client.on('localEvaluationFlagsLoaded', look)
    async function look() {
      if (client.isLocalEvaluationReady() && (await versionOf(client)) === version) {
        clearTimeout(timer)
        stop()
        resolve()
      }
    }
    look()
  })
}

describe('two PostHog clients that share a cache object', () => {
  for (const withFetch of [true, false]) {
    for (const kind of ['redis', 'directory', 'memory']) {
      test(`over ${kind}, ${withFetch ? 'with' : 'without'} its fetch, end on the newest version`, async (t) => {
        const store = await STORES[kind]()
        const api = await standIn(t)
        const cache = openCache(t, { projectKey: api.projectKey, url: store.url, refreshIntervalMs: 200 })
        const errors = []
        cache.onError((error) => errors.push(error))
        const settings = {
          host: api.url,
          secretKey: api.secretKey,
          featureFlagsPollingInterval: 200,
          flagDefinitionCacheProvider: cache,
          ...(withFetch && { fetch: cache.fetch }),
        }
        const clients = [0, 1].map(() => new PostHog(api.projectKey, settings))
        // Before its files are removed, everybody who writes them ends.
        t.after(async () => {
          await Promise.all(clients.map((client) => client.shutdown()))
          await store.close()
        })
        const everyone = (version) => Promise.all(clients.map((client) => evaluates(client, version)))
        await everyone('v1')
        for (let edits = 0; edits < 6; edits += 1) await everyone(api.edit())
        // As PostHog returns to an earlier version, with its ETag.
        await everyone(api.rollback(3))
        const mistakes = errors.filter(({ code }) => code === 'ERR_FLAG_CACHE_OPTIONS')
        assert.equal(mistakes.length, 1, String(errors))
        assert.match(mistakes[0].message, /Create one FlagDefinitionCache for each PostHog client/)
      })
    }
  }
})
