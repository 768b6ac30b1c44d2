'use strict'

const { setTimeout: sleep } = require('node:timers/promises')

/** All calls of `invalidate()` within this time count as one. */
const APART_MS = 1_000

/** The delay before each attempt. The first load may have begun before the call, and the invalidation may count as part of an earlier one. */
const DELAYS_MS = [0, 0, APART_MS]

/**
 * Invalidates until a process has started to fetch after this call, because a fetch that started before may have missed the edit. `load()`
 * polls, and resolves with `true` if this process gets the grant.
 *
 * Resolves with `'granted'` if it did, `'begun'` if a process has begun to fetch, `'paused'` if none calls PostHog now, or `'none'`.
 */
async function invalidateUntilGranted(cache, load) {
  const calledAt = performance.now()
  for (const delayMs of DELAYS_MS) {
    if (delayMs > 0) await sleep(delayMs)
    await cache.invalidate()
    if (await load()) return 'granted'
    const { lastGrantMsAgo, retryInMs } = cache.status()
    // In whole milliseconds.
    if (lastGrantMsAgo !== null && lastGrantMsAgo <= Math.ceil(performance.now() - calledAt)) return 'begun'
    if (retryInMs !== null) return 'paused'
  }
  return 'none'
}

module.exports = { invalidateUntilGranted }
