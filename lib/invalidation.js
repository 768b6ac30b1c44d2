'use strict'

const { setTimeout: sleep } = require('node:timers/promises')

/** `invalidate()` counts once in this time. */
const APART_MS = 1_000

/** Before each attempt. The first load may be one that had begun before; an invalidation may have been counted with an earlier one. */
const DELAYS_MS = [0, 0, APART_MS]

/**
 * Invalidates until some process of the fleet has begun to fetch after this call: one that had begun before may have missed the edit.
 * `load()` asks for the turn, and resolves with `true` if this process has it. Resolves with that.
 */
async function invalidateUntilGranted(cache, load) {
  const calledAt = performance.now()
  for (const delayMs of DELAYS_MS) {
    if (delayMs > 0) await sleep(delayMs)
    await cache.invalidate()
    if (await load()) return true
    const { lastGrantMsAgo, retryInMs } = cache.status()
    if (retryInMs !== null || lastGrantMsAgo <= performance.now() - calledAt) break
  }
  return false
}

module.exports = { invalidateUntilGranted }
