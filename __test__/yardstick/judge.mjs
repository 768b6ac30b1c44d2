// The yardstick: never worse than without the cache.

import assert from 'node:assert/strict'

import { BILLED } from '../../dev/posthog-api.mjs'

/** Two processors run several pairs of fleets. Where even the fleet without the cache is late, as much again is allowed. */
const ALLOWANCE_MS = 500

/** An edit is evaluated at most this many intervals after it was made. */
const EDIT_INTERVALS = 3

/** One round trip to the store. */
const ROUND_TRIP_MS = 60

const ms = (time) => (time === Infinity ? 'never' : `after ${Math.round(time)} ms`)

/** Everything that is worse than without the cache. */
export function assertNeverWorse([{ pollMs, limits, api, fleet }], { waits }, [cached, plain]) {
  const worse = []
  const expect = (holds, message) => holds || worse.push(message)
  const mostMs = 2 * plain.firstMs + ROUND_TRIP_MS + api.delayMs + (waits?.(limits, pollMs) ?? 0) + ALLOWANCE_MS
  expect(cached.firstMs <= mostMs, `first flags ${ms(cached.firstMs)}, without the cache ${ms(plain.firstMs)}; the latest is ${ms(mostMs)}`)
  const editMs = EDIT_INTERVALS * pollMs + ALLOWANCE_MS
  expect(cached.editMs <= editMs, `an edit is evaluated ${ms(cached.editMs)}, without the cache ${ms(plain.editMs)}; the latest is ${ms(editMs)}`)
  expect(cached.lost <= plain.lost, `${cached.lost} processes lost their flags, without the cache ${plain.lost}`)
  // One poll of a process may fall into the time measured that the other fleet makes just after.
  const billed = plain.billed + fleet.workers.length * BILLED[304]
  expect(cached.billed <= billed, `${cached.billed} requests are billed, without the cache ${plain.billed}`)
  assert.deepEqual(worse, [])
}
