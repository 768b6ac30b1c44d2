// Fleets of real posthog-node processes whose requests go through `flagCache.fetch`.

import assert from 'node:assert/strict'

import { Fleet } from '../../dev/harness/fleet.mjs'
import { OURS } from '../../dev/harness/providers.mjs'
import { standIn } from './client.mjs'

export const POLL_MS = 500

/** Two processors run up to 8 processes: a process may be this many polls late. */
export const LATE_POLLS = 2

/** A stand-in for PostHog, and a fleet that asks it through `store`; both end with the test `t`. */
export async function openSharingFleet(t, store, { kind = OURS, pollMs = POLL_MS, delayMs = 0, posthogOptions, push, ...options } = {}) {
  const api = await standIn(t, { delayMs })
  const settings = { url: store.url, ...(kind === OURS && { coldStartWaitMs: 20_000 }), ...options }
  const fleet = new Fleet({ api, kind, options: settings, pollingIntervalMs: pollMs, sharedEtag: true, push, posthogOptions })
  t.after(() => fleet.destroy())
  return { api, fleet }
}

/** At most one call an interval from the `n`th on: a call may come a slack earlier, and the one before it late. */
export function assertPaced({ calls }, { from = 0, intervalMs = POLL_MS } = {}) {
  const paced = calls.slice(from)
  const elapsedMs = paced.at(-1).at - paced[0].at
  const most = 2 + Math.floor(elapsedMs / (0.9 * intervalMs))
  assert.ok(paced.length <= most, `${paced.length} calls in ${elapsedMs} ms, where ${most} are allowed`)
}
