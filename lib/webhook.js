'use strict'

const { FlagCacheError } = require('./error.js')
const { invalidateUntilGranted } = require('./invalidation.js')
const { bearerOf } = require('./secret.js')

/** Seconds after which PostHog may try again. */
const RETRY_AFTER = '5'

/**
 * The handler for PostHog's webhook. `report(error)` calls the listeners of `onError()`. `told()` resolves when the outcome of the last request
 * is known to the cache.
 */
function webhookHandler(cache, options, { report, told }) {
  const { secret, posthog } = options ?? {}
  // A header has neither spaces at its ends nor characters that are not ASCII.
  if (
    typeof secret !== 'string' ||
    !/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(secret) ||
    typeof posthog?.reloadFeatureFlags !== 'function'
  ) {
    throw new FlagCacheError(
      'ERR_FLAG_CACHE_OPTIONS',
      "webhookHandler() takes { secret, posthog }: the webhook's secret (ASCII characters only), and the PostHog client of this cache",
    )
  }
  const isAllowed = bearerOf(secret)
  const load = async () => {
    await posthog.reloadFeatureFlags()
    await told()
  }
  const refresh = afterEachCall(() => fetchEdit(cache, load))

  return async function handle(request) {
    // The body does not matter, because every edit is a reason to fetch.
    request.body?.cancel().catch(() => {})
    if (request.method !== 'POST') return new Response(null, { status: 405, headers: { allow: 'POST' } })
    if (!isAllowed(request.headers.get('authorization'))) {
      return new Response(null, { status: 401, headers: { 'www-authenticate': 'Bearer' } })
    }
    try {
      await refresh()
      return new Response(null, { status: 204 })
    } catch (error) {
      report(error)
      return new Response(null, { status: 503, headers: { 'retry-after': RETRY_AFTER } })
    }
  }
}

/** Fails unless a process has fetched since the call, or PostHog has asked for a pause. */
async function fetchEdit(cache, load) {
  const { failedFetches } = cache.status()
  const outcome = await invalidateUntilGranted(cache, load)
  // After several failures, this process may not try again at once.
  if (cache.status().failedFetches > (outcome === 'none' ? 0 : failedFetches))
    throw new FlagCacheError(
      'ERR_FLAG_CACHE_API',
      'a request to PostHog failed, so the edit that the webhook reported is not fetched. Another error says why.',
    )
  if (outcome === 'none')
    throw new FlagCacheError(
      'ERR_FLAG_CACHE_API',
      'cannot fetch the edit that the webhook reported: no process has fetched. Pass the client of this cache to webhookHandler() as posthog, and give it a secretKey.',
    )
}

/** Runs `work` after each call. All calls that arrive while it runs share one more run. */
function afterEachCall(work) {
  let running = Promise.resolve()
  let next
  return () => {
    next ??= running
      .catch(() => {})
      .then(() => {
        next = undefined
        running = work()
        return running
      })
    return next
  }
}

module.exports = { webhookHandler }
