// What a fleet's calls had to cost, from what happened: the bill that nobody can go below.

import { BILLED } from './posthog-api.mjs'

/** Timers jitter: a call may come this part of an interval early, once for the start and each change of leader. */
const SLACK = 0.1

/**
 * One call an interval at most. A 200 is needed for each version, and, unless the fleet shares PostHog's ETag,
 * for each change of leader: the new one holds another ETag, or none. Every other call needs a 304.
 *
 * A leader changes when it left, which `leftAt(worker)` tells, or when its lease lapsed because the machine kept
 * it waiting, which `lostMs(worker, from, to)` tells. `until`: when counting ended.
 *
 * Returns the floor's `bill`, what was `paid`, whether that is `atFloor`, the `calls` answered and how many
 * there could be `atMost`, what made 200s needed, and `surplus`: the calls answered 200 for no such reason.
 */
export function floorOf({ calls, leftAt, lostMs = () => 0, intervalMs, leaseTtlMs = 1.5 * intervalMs, until, sharedEtag = false }) {
  const reasons = { versions: 0, departures: 0, late: [] }
  const surplus = []
  let early = SLACK
  let last
  for (const call of calls) {
    const moved = last !== undefined && call.worker !== last.worker
    const departed = moved && (leftAt(last.worker) ?? Infinity) <= call.at
    // The lease runs from the grant, the call may come later by what the worker lost in between.
    const lost = moved && !departed ? lostMs(last.worker, last.at - leaseTtlMs, call.at) : 0
    const late = lost > 0 && call.at - last.at + lost >= (1 - SLACK) * leaseTtlMs
    if (departed) early += SLACK
    if (late) early += 1
    if (call.status === 200) {
      if (call.version !== last?.version) reasons.versions += 1
      else if (departed && !sharedEtag) reasons.departures += 1
      else if (late && !sharedEtag) reasons.late.push(last.worker)
      else surplus.push(call)
    }
    last = { at: call.at, worker: call.worker, version: BILLED[call.status] ? call.version : last?.version }
  }
  const elapsed = calls.length === 0 ? 0 : (until - calls[0].at) / intervalMs
  const atMost = calls.length === 0 ? 0 : 1 + Math.floor(elapsed + early)
  const answered = calls.filter((call) => BILLED[call.status]).length
  const needed = reasons.versions + reasons.departures + reasons.late.length
  const unchanged = Math.min(answered, atMost) - needed
  const bill = needed * BILLED[200] + unchanged * BILLED[304]
  const paid = calls.reduce((sum, call) => sum + call.billed, 0)
  const atFloor = surplus.length === 0 && calls.length <= atMost && paid <= bill
  return { bill, paid, atFloor, calls: answered, atMost, unchanged, ...reasons, surplus }
}

/** The terms of the floor's bill, each `[what, flag requests]`. */
export function termsOf({ versions, departures, late, unchanged }) {
  const times = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`
  const terms = [
    [`${times(versions, 'version')}, each fetched once (× 10)`, versions * BILLED[200]],
    [`${times(departures, 'new leader')} after one left or was killed (× 10)`, departures * BILLED[200]],
    [`${times(late.length, 'new leader')} because ${late.join(', ')} was late on a busy machine (× 10)`, late.length * BILLED[200]],
    [`${times(unchanged, 'unchanged poll')} (× 1)`, unchanged * BILLED[304]],
  ]
  return terms.filter(([, amount]) => amount > 0)
}
