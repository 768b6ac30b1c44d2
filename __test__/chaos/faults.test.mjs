// Fleets of real posthog-node processes, and everything that can happen to the Redis they share: a table of faults, and what must
// hold after each of them. With `CHAOS_WRITE=1` the outcomes go into docs/reliability.md.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'

import { openChaosLab, SHORT } from '../../dev/harness/chaos-lab.mjs'
import { now, sleep } from '../../dev/harness/clock.mjs'
import { FAULTS, LASTS_MS } from '../../dev/harness/faults/index.mjs'
import * as judge from './judge.mjs'
import { codesOf, inFamilies, seconds, writeTable } from './report.mjs'

const WORKERS = 3
/** A fault of this length, and the reconnect after it, is shorter than a poll; an election takes up to twice as long. */
const BRIEFLY_MS = 1_500
const longPollMs = ({ elects }) => (elects ? 4 : 2) * BRIEFLY_MS
const outcomes = []
const beyond = new Map()

describe('a fleet shares again, has lost no evaluation, and leaves nothing behind, after', { concurrency: 3 }, () => {
  for (const [family, faults] of Object.entries(FAULTS)) {
    for (const fault of faults) {
      test(`${family}: ${fault.name}`, async (t) => outcomes.push({ fault, ...(await suffer(t, fault)) }))
    }
  }
})

describe('the same is true if the server lacks RESP3, after', { concurrency: 3 }, () => {
  for (const family of ['the network to Redis', 'the server']) {
    for (const fault of FAULTS[family]) test(`${family}: ${fault.name}`, (t) => suffer(t, { ...fault, resp2: true }))
  }
})

describe("with whenUnavailable: 'stale' it makes no more requests than without a fault, and recovers, after", {
  concurrency: 3,
}, () => {
  for (const [family, faults] of Object.entries(FAULTS)) {
    for (const fault of faults.filter(({ alone }) => alone)) {
      test(`${family}: ${fault.name}`, async (t) => {
        const { options, tells } = fault
        // Who is just publishing still hears that this failed.
        const outcome = await suffer(t, {
          ...fault,
          alone: false,
          tells: [],
          mayTell: tells,
          options: { ...SHORT, ...options, whenUnavailable: 'stale' },
        })
        assert.ok(fault.grants || outcome.meanwhile === 0, `${outcome.meanwhile} calls were made meanwhile`)
      })
    }
  }
})

describe('shorter than an interval, it causes no request beyond one per interval, and only onError reports it', { concurrency: 6 }, () => {
  for (const [family, faults] of Object.entries(FAULTS)) {
    for (const fault of faults) {
      test(`${family}: ${fault.name}`, async (t) => beyond.set(fault, await sufferBriefly(t, fault)))
    }
  }
})

/** A fleet of posthog-node processes that evaluate flags. */
async function openFleet(t, { topology, asUser, resp2, flags, options, tells }, pollMs) {
  const lab = await openChaosLab({ topology, asUser, resp2, flags, pollMs, options: { ...(tells.length > 0 && SHORT), ...options } })
  t.after(() => lab.close())
  const { fleet } = lab
  await fleet.start(WORKERS, { together: true })
  await fleet.everyone({ version: 'v1' })
  return lab
}

/** Resolves with how many calls were made beyond one an interval. */
async function sufferBriefly(t, fault) {
  const lab = await openFleet(t, fault, longPollMs(fault))
  const { api, pollMs } = lab
  // The fleet polls in the midst of it.
  await api.nextCall()
  await sleep(pollMs - BRIEFLY_MS / 2)
  const [begunAt, callsBefore] = [now(), api.calls.length]
  await fault.begin(lab, BRIEFLY_MS)
  await sleep(fault.lastsMs ?? BRIEFLY_MS)
  await fault.end?.(lab)
  const lastedMs = now() - begunAt
  await judge.sharesAgain(lab, now())
  const calls = api.calls.length - callsBefore
  const more = Math.max(0, calls - judge.callsAtMost(now() - begunAt, pollMs))
  judge.assertUnharmed(lab)
  judge.assertFlagsKept(lab)
  if (lastedMs < pollMs) {
    assert.equal(more, 0, `${calls} calls in ${now() - begunAt} ms`)
    assert.deepEqual([...judge.codesTold(lab)], [])
  }
  return more
}

async function suffer(t, fault) {
  const { lastsMs = LASTS_MS } = fault
  const lab = await openFleet(t, fault)
  const { api, fleet } = lab
  await fleet.everyone({ version: api.edit() })
  await judge.sharesAgain(lab, 0)
  assert.deepEqual([...judge.codesTold(lab)], [])

  const [begunAt, arrivalsBefore, callsBefore] = [now(), await lab.arrivals(), api.calls.length]
  await fault.begin(lab, lastsMs)
  const early = api.edit()
  await sleep(lastsMs)
  await fault.end?.(lab)
  const endedAt = now()
  const sharedAt = await judge.sharesAgain(lab, endedAt)
  const outcome = {
    elapsedMs: now() - begunAt,
    lastedMs: endedAt - begunAt,
    tookMs: Math.max(0, sharedAt - endedAt),
    calls: api.calls.length - callsBefore,
    full: api.calls.slice(callsBefore).filter(({ status }) => status === 200).length,
    // Whoever had its turn before has called within a poll.
    meanwhile: api.calls.filter(({ at }) => at > begunAt + lab.pollMs && at < endedAt).length,
    // Whoever finds no master has asked each server.
    attempts: Math.max(...(await lab.arrivals()).map((count, n) => count - arrivalsBefore[n])) / WORKERS / lab.connectionsEach,
    told: judge.codesTold(lab),
  }
  judge.assertUnharmed(lab)
  await fleet.everyone({ version: early })
  judge.assertRecovered(lab, fault, outcome)
  judge.assertCalled(lab, fault, outcome)
  judge.assertTold(fault, outcome)
  judge.assertNoHammering(outcome)

  // What is told from here on is told after the recovery.
  for (const { errors } of fleet.all) errors.splice(0)
  const full = api.count(200)
  const late = api.edit()
  await judge.assertPaced(lab)
  await fleet.everyone({ version: late })
  assert.equal(api.count(200) - full, 1, 'one process fetches it for all')
  assert.deepEqual([...judge.codesTold(lab)], [])

  judge.assertUnharmed(lab)
  judge.assertFlagsKept(lab)
  judge.assertBounded(lab)
  await judge.assertEvaluated(lab)
  await judge.assertWhole(lab)
  await judge.assertFewConnections(lab)
  return outcome
}

after(() => {
  // A fault that was not survived has none.
  const all = Object.values(FAULTS).flat().length
  if (!process.env.CHAOS_WRITE || outcomes.length < all || beyond.size < all) return
  const columns = ['fault', 'errors reported meanwhile', 'recovered after', 'requests beyond one per interval']
  const rows = inFamilies(FAULTS, columns.length, (fault) => {
    const { told, tookMs } = outcomes.find((outcome) => outcome.fault === fault)
    return [fault.name, codesOf(told), seconds(tookMs), String(beyond.get(fault))]
  })
  writeTable('chaos:table', columns, rows)
})
