// What a fleet of real posthog-node processes must do, whatever store it shares: the rows of docs/design.md's table.
//
// Bounds come from the rule, not from clocks: how often the API is called is compared with the time that went by, and how long
// something takes with a number of polls.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { now, sleep } from '../../dev/harness/clock.mjs'
import { Fleet } from '../../dev/harness/fleet.mjs'
import { startPostHogApi } from '../../dev/harness/posthog-api.mjs'
import { OURS } from '../../dev/harness/providers.mjs'
import { openCache } from './client.mjs'
import { newProjectKey } from './stores.mjs'

export const POLL_MS = 500

/** Two processors run up to 16 processes: a process may be this many polls late. */
const LATE_POLLS = 2

/** The rule's slack: how much earlier than the interval a fetch may come. */
const slackOf = (intervalMs) => Math.min(intervalMs / 10, 1_000)

/** How many calls there may be in a stretch of time that holds all their grants. */
export const callsAtMost = (elapsedMs, intervalMs) => 1 + Math.floor(elapsedMs / (intervalMs - slackOf(intervalMs)))

/** A stand-in for PostHog, and a fleet that asks it through `store`; both end with the test `t`. */
export async function openFleet(t, store, { delayMs = 0, ...options } = {}) {
  const api = await startPostHogApi({ projectKey: newProjectKey(), delayMs })
  const fleet = new Fleet({ api, kind: OURS, options: { url: store.url, ...options }, pollingIntervalMs: POLL_MS })
  t.after(async () => {
    await fleet.destroy()
    await api.close()
  })
  const intervalMs = options.refreshIntervalMs ?? POLL_MS
  let begunAt
  fleet.once('begin', () => (begunAt = now()))
  return {
    api,
    fleet,
    /** Starts `n` processes that begin at the same moment. */
    begin: (n) => fleet.start(n, { together: true }),
    /** At most one call an interval since the fleet began. */
    assertPaced() {
      const elapsedMs = now() - begunAt
      const most = callsAtMost(elapsedMs, intervalMs)
      assert.ok(api.calls.length <= most, `${api.calls.length} calls in ${elapsedMs} ms, where ${most} are allowed`)
    },
    /** None of them was asked for anything that the fleet had. */
    assertQuiet() {
      assert.deepEqual(
        fleet.errors.map(({ worker, message }) => `${worker}: ${message}`),
        [],
      )
      assert.equal(api.remoteEvaluations, 0)
    },
  }
}

async function polls(api, n) {
  for (; n > 0; n -= 1) await api.nextCall(() => true)
}

/** Registers the suite over the store that `open` returns. */
export function fleetSuite(open) {
  let store
  before(async () => (store = await open()))
  after(() => store.close())

  test('16 processes that start at once fetch once, though the API takes 300 ms', async (t) => {
    const options = { delayMs: 300, refreshIntervalMs: 60_000, coldStartWaitMs: 20_000 }
    const { api, begin, fleet, assertQuiet } = await openFleet(t, store, options)
    await begin(16)
    await fleet.everyone({ version: 'v1' })
    assert.deepEqual(
      api.calls.map(({ status }) => status),
      [200],
    )
    assertQuiet()
  })

  test('after ten polls without a change the cache is warm: processes that join make no request', async (t) => {
    const options = { maxAgeMs: 5 * POLL_MS, leaseTtlMs: 5 * POLL_MS }
    const { api, begin, fleet, assertPaced, assertQuiet } = await openFleet(t, store, options)
    await begin(4)
    for (let n = 0; n < 10; n += 1) {
      await polls(api, 1)
      const leftMs = await store.expiresInMs(api.projectKey)
      assert.ok(leftMs > options.maxAgeMs / 2, `${leftMs} ms are left: this poll has renewed nothing`)
    }
    const joiners = (await fleet.start(4)).map(({ id }) => id)
    await fleet.everyone({ version: 'v1' })
    await polls(api, 2)
    assert.equal(api.count(200), 1)
    assert.ok(api.calls.every(({ worker }) => !joiners.includes(worker)))
    assert.equal(new Set(api.calls.map(({ worker }) => worker)).size, 1, 'who fetched first remains the one who fetches')
    assertPaced()
    assertQuiet()
  })

  test('five edits cost one full fetch each, and reach all eight processes', async (t) => {
    const { api, begin, fleet, assertPaced, assertQuiet } = await openFleet(t, store, { leaseTtlMs: 20 * POLL_MS })
    await begin(8)
    await fleet.everyone({ version: 'v1' })
    for (let n = 0; n < 5; n += 1) {
      const version = api.edit()
      // The fetcher's next poll, then everyone's.
      const { tookMs } = await fleet.everyone({ version })
      assert.ok(tookMs <= (2 + LATE_POLLS) * POLL_MS, `${version} took ${tookMs} ms`)
    }
    const fetched = api.calls.filter(({ status }) => status === 200).map(({ version }) => version)
    assert.deepEqual(fetched, ['v1', 'v2', 'v3', 'v4', 'v5', 'v6'])
    for (const { id, history } of fleet.all) {
      const seen = history.map(({ version }) => Number(version.slice(1)))
      assert.ok(
        seen.every((version, n) => n === 0 || version > seen[n - 1]),
        `${id} went back: ${seen}`,
      )
    }
    assertPaced()
    assertQuiet()
  })

  test('a store that lost everything is restored within one poll, without a full fetch', async (t) => {
    const { api, begin, assertPaced, assertQuiet } = await openFleet(t, store, { leaseTtlMs: 20 * POLL_MS })
    await begin(3)
    await polls(api, 2)
    const before = await store.stored(api.projectKey)
    for (let n = 0; n < 2; n += 1) {
      await store.lose()
      const lostAt = now()
      while (!(await store.stored(api.projectKey))?.equals(before)) {
        assert.ok(now() - lostAt < (1 + LATE_POLLS) * POLL_MS, 'it is still empty')
        await sleep(10)
      }
      await polls(api, 2)
    }
    assert.equal(api.count(200), 1)
    assertPaced()
    assertQuiet()
  })

  test('what a process fetched before it was stopped past its lease is not published when it continues', async (t) => {
    const { api, begin, fleet, assertQuiet } = await openFleet(t, store)
    await begin(1)
    const followers = await fleet.start(2)
    const [leader] = fleet.all
    const release = api.hold()
    api.edit()
    await api.nextRequest(({ worker, version }) => worker === leader.id && version === 'v2')
    fleet.stop(leader)
    api.edit()
    const succession = api.nextRequest(({ worker, version }) => worker !== leader.id && version === 'v3')
    await succession
    release()
    await fleet.everyone({ version: 'v3' })
    const published = await store.stored(api.projectKey)

    // It evaluates what it was sent, until its next poll; by then it has tried to publish it.
    fleet.continue(leader)
    await leader.until('version')
    assert.equal(leader.history.at(-1).version, 'v2')
    assert.ok((await store.stored(api.projectKey)).equals(published))
    await fleet.everyone({ version: 'v3' })
    for (const { history } of followers)
      assert.deepEqual(
        history.map(({ version }) => version),
        ['v1', 'v3'],
      )
    assertQuiet()
  })

  test('when the leader is killed an edit reaches every process within the lease and two polls', async (t) => {
    const { api, begin, fleet, assertPaced, assertQuiet } = await openFleet(t, store)
    await begin(4)
    await polls(api, 2)
    const killed = fleet.leader
    await fleet.kill(killed, 'SIGKILL')
    const version = api.edit()
    const { tookMs } = await fleet.everyone({ version })
    const leaseMs = 1.5 * POLL_MS
    assert.ok(tookMs <= leaseMs + (2 + LATE_POLLS) * POLL_MS, `it took ${tookMs} ms`)
    const fetched = api.calls.filter((call) => call.version === version && call.status === 200)
    assert.equal(fetched.length, 1)
    assert.notEqual(fetched[0].worker, killed.id)
    assertPaced()
    assertQuiet()
  })

  test('when the leader shuts down no process fetches before the interval is over, and then one does', async (t) => {
    const refreshIntervalMs = 6 * POLL_MS
    const { api, begin, fleet, assertQuiet } = await openFleet(t, store, { refreshIntervalMs, leaseTtlMs: 60_000 })
    const begun = new Promise((resolve) => fleet.once('begin', () => resolve(now())))
    await begin(3)
    const begunAt = await begun
    const leader = fleet.leader
    const { code } = await leader.shutdown()
    assert.equal(code, 0)
    assert.equal(api.calls.length, 1)
    const next = await api.nextCall(() => true)
    assert.notEqual(next.worker, leader.id)
    assert.ok(next.at - begunAt >= refreshIntervalMs - slackOf(refreshIntervalMs), `it came after ${next.at - begunAt} ms`)
    assertQuiet()
  })

  test('20 short-lived processes, one after another, fetch once', async (t) => {
    const { api, fleet, assertQuiet } = await openFleet(t, store, { refreshIntervalMs: 120_000 })
    // The first one alone; then four at a time, to save time: they come and go in any order.
    const live = async () => {
      const [worker] = await fleet.start(1)
      assert.equal(worker.version, 'v1')
      await worker.shutdown()
    }
    await live()
    const line = async (n) => {
      for (; n > 0; n -= 1) await live()
    }
    await Promise.all([line(5), line(5), line(5), line(4)])
    assert.equal(fleet.all.length, 20)
    assert.deepEqual(
      api.calls.map(({ status }) => status),
      [200],
    )
    assertQuiet()
  })

  test('processes without a secret key follow, even those that come first', async (t) => {
    const { api, begin, fleet, assertPaced, assertQuiet } = await openFleet(t, store, { coldStartWaitMs: 20_000 })
    const early = await fleet.start(1, { secretKey: null, untilReady: false })
    await begin(1)
    const late = await fleet.start(1, { secretKey: null })
    await fleet.everyone({ version: 'v1' })
    await fleet.everyone({ version: api.edit() })
    const readers = [...early, ...late].map(({ id }) => id)
    assert.ok(api.calls.every(({ worker }) => !readers.includes(worker)))
    assertPaced()
    assertQuiet()
  })

  test('what posthog-node publishes is what a cache without it reads', async (t) => {
    const { api, begin } = await openFleet(t, store)
    await begin(1)
    const found = await openCache(t, { projectKey: api.projectKey, url: store.url, role: 'reader' }).getFlagDefinitions()
    const { flags, cohorts } = JSON.parse(api.text)
    assert.deepEqual({ flags: found.flags, cohorts: found.cohorts }, { flags, cohorts })
  })
}
