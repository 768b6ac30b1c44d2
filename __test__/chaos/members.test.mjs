// Fleets whose leader, and all its other members but one, cannot reach PostHog. With `CHAOS_WRITE=1` the outcomes go into
// docs/reliability.md.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'

import { openChaosLab } from '../../dev/harness/chaos-lab.mjs'
import { nextEvent, now } from '../../dev/harness/clock.mjs'
import { MEMBER_FAULTS } from '../../dev/harness/faults/members.mjs'
import * as judge from './judge.mjs'
import { codesOf, seconds, writeTable } from './report.mjs'

/** The ratio of the defaults: posthog-node gives up after 10 s, and polls every 30 s. */
const POLL_MS = 1_200
const REQUEST_TIMEOUT_MS = 400

/** After how many intervals an edit must be evaluated. If most of many processes fail, all pause before the healthy one has its turn. */
const intervalsFor = (workers) => (workers > 2 ? 6 : 3)

/** A busy machine may delay an edit this much. */
const ALLOWANCE_MS = 600

const outcomes = []

describe('one process that can reach PostHog is enough for an edit, and a lone one recovers', {
  concurrency: 2,
}, () => {
  for (const fault of MEMBER_FAULTS) {
    test(fault.name, async (t) => {
      const lab = await openChaosLab({
        pollMs: POLL_MS,
        settings: { onError: true, sharedEtag: fault.fetch, posthogOptions: { requestTimeout: REQUEST_TIMEOUT_MS } },
      })
      t.after(() => lab.close())
      await lab.fleet.start(fault.workers, { together: true })
      await lab.fleet.everyone({ version: 'v1' })
      const tookMs = await (fault.workers === 1 ? recover(lab, fault) : serveOthers(lab, fault))
      judge.assertFlagsKept(lab)
      judge.assertUnharmed(lab)
      outcomes.push({ fault, tookMs, told: await judge.assertFailureShown(lab) })
    })
  }
})

/** Three edits reach everybody through the one healthy process; resolves with how long the healthy one needed at most. */
async function serveOthers({ api, fleet, pollMs }, { kind, workers }) {
  const { leader } = fleet
  const healthy = fleet.workers.find((worker) => worker !== leader)
  const sick = fleet.workers.filter((worker) => worker !== healthy)
  await Promise.all(sick.map((worker) => worker.sicken(kind)))
  const [from, calls, mostMs] = [now(), api.calls.length, intervalsFor(workers) * pollMs + ALLOWANCE_MS]
  let longestMs = 0
  for (let edits = 0; edits < 3; edits += 1) {
    const editedAt = now()
    const version = api.edit()
    await judge.evaluates(healthy, version, mostMs)
    longestMs = Math.max(longestMs, now() - editedAt)
    // The sick ones follow at their next poll, or when they are told of the version.
    await fleet.everyone({ version, timeoutMs: mostMs })
  }
  const answered = api.calls.slice(calls).filter(({ status }) => status === 200 || status === 304)
  const most = 1 + judge.callsAtMost(now() - from, pollMs)
  assert.ok(answered.length <= most, `${answered.length} answered calls, where ${most} are allowed`)
  assert.ok(leader.sickRequests.length > 0, 'the leader has not called')
  return longestMs
}

/** Resolves with how long the process needed, once it could reach PostHog again, until it evaluates the edit. */
async function recover({ api, fleet, pollMs }, { kind, failures }) {
  const [worker] = fleet.workers
  await worker.sicken(kind)
  const version = api.edit()
  while (worker.sickRequests.length < failures) await nextEvent(worker, 'sick-request', undefined, { timeoutMs: 3 * pollMs })
  await worker.cure()
  const curedAt = now()
  const mostMs = 2 * pollMs + REQUEST_TIMEOUT_MS + ALLOWANCE_MS
  await judge.evaluates(worker, version, mostMs)
  return now() - curedAt
}

after(() => {
  // A fault that was not survived has none.
  if (!process.env.CHAOS_WRITE || outcomes.length < MEMBER_FAULTS.length) return
  const columns = ['processes that cannot reach PostHog', 'error in `onError`', 'time until an edit is evaluated']
  const rows = MEMBER_FAULTS.map((fault) => {
    const { told, tookMs } = outcomes.find((outcome) => outcome.fault === fault)
    return [fault.name, codesOf(told), seconds(tookMs)]
  })
  writeTable('members:table', columns, rows)
})
