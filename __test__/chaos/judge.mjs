// What must hold for a fleet of dev/harness/chaos-lab.mjs whatever happened to it.

import assert from 'node:assert/strict'

import { nextEvent, now } from '../../dev/harness/clock.mjs'
import { runNode } from '../support/child.mjs'
import { callsAtMost } from '../support/fleet-suite.mjs'

export { callsAtMost }

/** What a busy machine may add to a limit: timers and threads that are late. */
export const ALLOWANCE_MS = 1_500

/** Two processors run several fleets: a process may be this many polls late. */
const LATE_POLLS = 3

/** A process may try so often to connect, on the average. */
const ATTEMPTS_A_SECOND = 3

/** docs/design.md: the waits between attempts to connect double up to 2 s, each lengthened by up to its own length. */
const reconnectMs = (lastedMs, { connectTimeoutMs }) => Math.min(4_000, 2 * (lastedMs + 100)) + connectTimeoutMs

const method = (name) => (call) => call.method === name
const asked = method('shouldFetchFlagDefinitions')

/** The calls of a worker since its last failure, of those that began after `since`. */
function sound({ calls }, since) {
  const later = calls.filter(({ at }) => at >= since)
  return later.slice(later.findLastIndex(({ code }) => code) + 1).filter(asked)
}

/** Resolves with when the fleet shared again for good: every client was then answered, and twice in a row. */
export async function sharesAgain({ fleet, clients }, since) {
  const awake = () => fleet.workers.filter(({ stopped }) => !stopped)
  const reached = () => awake().every((worker) => sound(worker, since).length >= 2 * clients)
  if (!reached()) await nextEvent(fleet, 'change', reached, { timeoutMs: 20_000, what: 'sharing among all' })
  return Math.max(...awake().map((worker) => sound(worker, since)[0].at))
}

export function assertRecovered({ pollMs, limits }, { reconnects }, { tookMs, lastedMs }) {
  const most = (2 + LATE_POLLS) * pollMs + (reconnects ? reconnectMs(lastedMs, limits) : 0)
  assert.ok(tookMs <= most, `they share again after ${tookMs} ms, where ${most} are allowed`)
}

/** Over the next polls there is one call an interval; it resolves after these. */
export async function assertPaced({ api, pollMs }, polls = 4) {
  const [before, from] = [api.calls.length, now()]
  for (let n = 0; n < polls; n += 1) await api.nextCall()
  // One more than the time allows: the first one's interval may have begun before.
  const [calls, most] = [api.calls.length - before, 1 + callsAtMost(now() - from, pollMs)]
  assert.ok(calls <= most, `${calls} calls, where ${most} are allowed`)
}

/**
 * What PostHog was asked from the begin of a fault until the fleet shared again: one call an interval, but where it left the
 * processes alone one a poll of each client. `full`, if given: how many of these fetched the one edit; `strangers`: how many
 * clients were started meanwhile.
 */
export function assertCalled({ clients, fleet, pollMs }, { alone, forgets, mayTell = [] }, { calls, elapsedMs, full = 0, strangers = 0 }) {
  const each = callsAtMost(elapsedMs, pollMs)
  // Whoever may fail may fetch for itself once.
  const failures = Math.min(1, mayTell.length)
  const most = alone ? each * (clients * fleet.workers.length + strangers) : 1 + each + strangers + failures
  assert.ok(calls <= most, `${calls} calls in ${elapsedMs} ms, where ${most} are allowed`)
  assert.ok(alone || forgets || full <= 1 + failures, `the edit was fetched ${full} times`)
}

/** posthog-node reported what it had to, and nothing else. */
export function assertTold({ tells, mayTell = [] }, { told }) {
  assert.deepEqual(
    [...told].filter((code) => !tells.includes(code) && !mayTell.includes(code)),
    [],
  )
  assert.ok(told.size > 0 || tells.length === 0, 'nothing was reported')
}

/** How often a process tried to connect: at once, then after waits that double from 100 ms on. */
export function assertNoHammering({ attempts, elapsedMs }) {
  const most = 2 + (ATTEMPTS_A_SECOND * elapsedMs) / 1_000
  assert.ok(attempts <= most, `each process tried ${attempts} times to connect in ${elapsedMs} ms, where ${most} are allowed`)
}

/** Each call of posthog-node ended within its limit, but for the time that its process was stopped. */
export function assertBounded({ fleet, limits }) {
  const limit = limits.connectTimeoutMs + 2 * limits.commandTimeoutMs + ALLOWANCE_MS
  for (const { id, calls, stops } of fleet.all) {
    for (const call of calls) {
      const waits = call.method === 'onFlagDefinitionsReceived' ? 0 : limits.coldStartWaitMs
      const stoppedMs = stops.reduce(
        (sum, { from, to }) => sum + Math.max(0, Math.min(to, call.at + call.tookMs) - Math.max(from, call.at)),
        0,
      )
      const tookMs = call.tookMs - stoppedMs
      assert.ok(tookMs < limit + waits, `${call.method} of ${id} took ${tookMs} ms`)
    }
  }
}

/** Flags that were there once were there at every evaluation, and PostHog evaluated none. */
export function assertFlagsKept({ api, fleet }) {
  for (const { id, history } of fleet.all) {
    assert.ok(
      history.every(({ version }) => version !== null),
      `${id} lost its flags: ${JSON.stringify(history)}`,
    )
  }
  assert.equal(api.remoteEvaluations, 0)
}

/** Resolves when `worker` evaluates `version`; rejects after `timeoutMs`. */
export async function evaluates(worker, version, timeoutMs) {
  if (worker.version === version) return
  const what = `evaluation of ${version} by ${worker.id}, which has ${worker.version}`
  await nextEvent(worker, 'version', () => worker.version === version, { timeoutMs, what })
}

/** Each process that PostHog failed said so through `onError()`, and counts it in `status()`; resolves with the codes. */
export async function assertFailureShown({ fleet }) {
  const told = new Set()
  for (const worker of fleet.workers.filter(({ sickRequests }) => sickRequests.length > 0)) {
    const codes = worker.cacheErrors.map(({ code }) => code)
    assert.ok(codes.length > 0, `${worker.id} reported nothing of ${worker.sickRequests.length} failed requests`)
    const { errors } = (await worker.status()).provider.counters
    for (const code of codes) {
      assert.ok(errors[code] > 0, `${worker.id} reported ${code}, and its status counts ${JSON.stringify(errors)}`)
      told.add(code)
    }
  }
  return told
}

/** They were evaluated all the time. */
export async function assertEvaluated({ fleet }) {
  const evaluations = await Promise.all(fleet.workers.map(async (worker) => (await worker.status()).evaluations))
  assert.ok(Math.min(...evaluations) > 20, `too few evaluations: ${evaluations}`)
}

/** No process ended but those that were killed or shut down (an unhandled rejection ends one), and none complained. */
export function assertUnharmed({ fleet }) {
  for (const { id, alive, ended, stderr } of fleet.all) {
    assert.ok(alive || ended.code === 0 || ended.signal === 'SIGKILL', `${id} ended: ${stderr}`)
    assert.equal(stderr, '', id)
  }
}

/** What was reported of the provider, by posthog-node, on `client.on('error')`: codes. */
export const codesTold = ({ fleet }) => new Set(fleet.errors.map(({ message }) => /FlagCacheError \[(\w+)\]/.exec(message)?.[1] ?? message))

/** What is stored is PostHog's newest, whole, and of use to a process that has never seen it. */
export async function assertWhole({ api, admin, keys, directUrl }) {
  const source = `
    const { FlagDefinitionCache } = require('posthog-flag-cache')
    const cache = new FlagDefinitionCache({ role: 'reader', ...JSON.parse(process.env.OPTIONS) })
    cache.getFlagDefinitions().then((found) => {
      const [{ filters }] = found.flags
      process.stdout.write(JSON.stringify([cache.status().definitions.version, filters.multivariate.variants[0].key]))
    })
  `
  const OPTIONS = JSON.stringify({ projectKey: api.projectKey, url: directUrl })
  const { stdout, stderr } = await runNode(source, { env: { OPTIONS } })
  assert.equal(stderr, '')
  // The reader has compared the hash of what it read with this.
  assert.deepEqual(JSON.parse(stdout), [await admin.hget(keys.state, 'version'), api.version])
}

/** No more connections for each process than it needs, to whichever server. */
export async function assertFewConnections({ fleet, connections, connectionsEach }) {
  const [processes, left] = [fleet.workers.length, await connections()]
  assert.ok(left <= processes * connectionsEach, `${left} connections of ${processes} processes`)
}
