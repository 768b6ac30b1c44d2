// Fleets of real posthog-node processes, and everything that can happen to the Redis they share: a table of faults, and what must
// hold after each of them.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'

import { openChaosLab, SHORT } from '../../dev/chaos-lab.mjs'
import { now, sleep } from '../../dev/clock.mjs'
import { FAULTS, LASTS_MS } from '../../dev/faults/index.mjs'
import * as judge from './judge.mjs'

const WORKERS = 3

/** A process may try so often in a second to connect: at once, then after waits that double from 100 ms on. */
const ATTEMPTS_A_SECOND = 8

const outcomes = []

describe('a fleet shares again, has lost no evaluation, and leaves nothing behind, after', { concurrency: 3 }, () => {
  for (const [family, faults] of Object.entries(FAULTS)) {
    for (const fault of faults) {
      test(`${family}: ${fault.name}`, async (t) => outcomes.push({ family, fault, ...(await suffer(t, fault)) }))
    }
  }
})

async function suffer(t, fault) {
  const { asUser, flags, options, tells, mayTell = [], lastsMs = LASTS_MS } = fault
  const lab = await openChaosLab({ asUser, flags, options: { ...(tells.length > 0 && SHORT), ...options } })
  t.after(() => lab.close())
  const { api, fleet, proxy } = lab
  await fleet.start(WORKERS, { together: true })
  await fleet.everyone({ version: 'v1' })
  await fleet.everyone({ version: api.edit() })
  await judge.sharesAgain(lab, 0)
  assert.deepEqual([...judge.codesTold(lab)], [])

  const [begunAt, attempts, calls] = [now(), proxy.attempts.length, api.calls.length]
  await fault.begin(lab)
  const early = api.edit()
  await sleep(lastsMs)
  await fault.end?.(lab)
  const endedAt = now()
  const sharedAt = await judge.sharesAgain(lab, endedAt)
  judge.assertCalled(lab, fault, { calls: api.calls.length - calls, elapsedMs: now() - begunAt })
  const outcome = { tookMs: Math.max(0, sharedAt - endedAt), lastedMs: endedAt - begunAt }
  await fleet.everyone({ version: early })
  const attempted = (proxy.attempts.length - attempts) / WORKERS

  // What is told after this is told after the recovery.
  const [told, full] = [judge.codesTold(lab), api.count(200)]
  fleet.all.forEach(({ errors }) => errors.splice(0))
  const late = api.edit()
  await judge.assertPaced(lab)
  await fleet.everyone({ version: late })
  assert.equal(api.count(200) - full, 1, 'one process fetches it for all')
  assert.deepEqual([...judge.codesTold(lab)], [])

  judge.assertRecovered(lab, fault, outcome)
  judge.assertBounded(lab)
  judge.assertUnharmed(lab)
  judge.assertFlagsKept(lab)
  await judge.assertEvaluated(lab)
  await judge.assertWhole(lab)
  await judge.assertOneConnectionEach(lab)
  const unexpected = [...told].filter((code) => !tells.includes(code) && !mayTell.includes(code))
  assert.deepEqual(unexpected, [])
  assert.equal(told.size > 0 || tells.length === 0, true, 'posthog-node reports it')
  const most = 2 + (ATTEMPTS_A_SECOND * (sharedAt - begunAt)) / 1_000
  assert.ok(attempted <= most, `each process tried ${attempted} times to connect, where ${most} are allowed`)
  return { ...outcome, told: [...told], attempted }
}

after(() => {
  for (const { fault, tookMs, lastedMs, told, attempted } of outcomes) {
    console.log(fault.id.padEnd(22), `${Math.round(lastedMs)} ms`.padEnd(9), `+${Math.round(tookMs)} ms`.padEnd(9), attempted.toFixed(1).padEnd(5), told.join(' '))
  }
})
