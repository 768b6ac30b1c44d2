// What a fleet's calls had to cost, from what happened: the bill that nobody can go below.

import { BILLED } from '../harness/posthog-api.mjs'

/** An interval may be this much shorter, for the jitter of timers. */
const SLACK = 0.1

/** How many calls there may be in a stretch of time, at one call an interval. */
export const callsAtMost = (elapsedMs, intervalMs) => 1 + Math.floor(elapsedMs / ((1 - SLACK) * intervalMs))

/**
 * One call an interval at most, a 200 for each version, a 304 for every other call. `until`: when counting ended.
 *
 * Returns the floor's `bill`, what was `paid`, whether that is `atFloor`, the `calls` answered and how many there
 * could be `atMost`, how many `versions` and `unchanged` polls there were, and `surplus`: the 200s for no new version.
 */
export function floorOf({ calls, intervalMs, until }) {
  const answered = calls.filter(({ status }) => BILLED[status])
  const isNew = answered.map(({ version }, index) => version !== answered[index - 1]?.version)
  const versions = isNew.filter(Boolean).length
  const surplus = answered.filter(({ status }, index) => status === 200 && !isNew[index])
  const atMost = calls.length === 0 ? 0 : callsAtMost(until - calls[0].at, intervalMs)
  const unchanged = Math.min(answered.length, atMost) - versions
  const bill = versions * BILLED[200] + unchanged * BILLED[304]
  const paid = calls.reduce((sum, { billed }) => sum + billed, 0)
  const atFloor = surplus.length === 0 && calls.length <= atMost && paid <= bill
  return { bill, paid, atFloor, calls: answered.length, atMost, versions, unchanged, surplus }
}
