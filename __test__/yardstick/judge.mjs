// The yardstick: never worse than without the cache.

import assert from 'node:assert/strict'

import { BILLED } from '../../dev/harness/posthog-api.mjs'

/** For timers and threads that are late. */
const ALLOWANCE_MS = 500

/** Where a call gets no answer, the next poll may begin before an answer of PostHog has been read. */
const OVERLAPPING = BILLED[200]

/** An edit is evaluated at most this many intervals after it was made. */
const EDIT_INTERVALS = 3

/** One round trip to the store. */
const ROUND_TRIP_MS = 60

/** Two fleets do not poll at the same moments. */
const BILL_TOLERANCE = 0.1

const ms = (time) => (time === Infinity ? 'never' : `after ${Math.round(time)} ms`)

/**
 * Lists everything that is worse than without the cache. A busy machine delays the other fleet too: what that needs for its first
 * flags, and for an edit beyond an interval, is allowed in addition.
 */
export function assertNeverWorse([{ pollMs, limits, api, fleet }], { waits, laterMs }, [cached, plain]) {
  const worse = []
  const expect = (holds, message) => holds || worse.push(message)
  const firstMs = 2 * plain.firstMs + ROUND_TRIP_MS + api.delayMs + (waits?.(limits, pollMs) ?? 0) + ALLOWANCE_MS
  expect(
    cached.firstMs <= firstMs,
    `first flags ${ms(cached.firstMs)}, without the cache ${ms(plain.firstMs)}; the latest is ${ms(firstMs)}`,
  )
  const busyMs = plain.firstMs + Math.max(0, plain.editMs - pollMs)
  // posthog-node polls again only after the call that got no answer.
  const editMs = EDIT_INTERVALS * pollMs + busyMs + (laterMs?.(limits) ?? 0) + ALLOWANCE_MS
  expect(
    cached.editMs <= editMs,
    `an edit is evaluated ${ms(cached.editMs)}, without the cache ${ms(plain.editMs)}; the latest is ${ms(editMs)}`,
  )
  expect(cached.lost <= plain.lost, `${cached.lost} processes lost their flags, without the cache ${plain.lost}`)
  const billed = (1 + BILL_TOLERANCE) * plain.billed + fleet.workers.length * BILLED[304] + (laterMs ? OVERLAPPING : 0)
  expect(cached.billed <= billed, `${cached.billed} requests are billed, without the cache ${plain.billed}`)
  assert.deepEqual(worse, [])
}
