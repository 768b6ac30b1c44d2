'use strict'

const { FlagCacheError } = require('./error.js')
const { invalidateUntilGranted } = require('./invalidation.js')
const { equalTo } = require('./secret.js')

/** Seconds after which PostHog may try again. */
const RETRY_AFTER = '5'

/** A handler of PostHog's webhook for edited flags. `report(error)` tells the listeners of `onError()`. */
function webhookHandler(cache, options, report) {
  const { secret, posthog } = options ?? {}
  if (typeof secret !== 'string' || secret === '' || typeof posthog?.reloadFeatureFlags !== 'function') {
    throw new FlagCacheError(
      'ERR_FLAG_CACHE_OPTIONS',
      "webhookHandler needs { secret, posthog }: the token of the webhook, and this cache's client",
    )
  }
  const isAllowed = equalTo(`Bearer ${secret}`)
  const refresh = afterEachCall(() => invalidateUntilGranted(cache, () => posthog.reloadFeatureFlags()))

  return async function handle(request) {
    // What it says does not matter: every edit is a reason to fetch.
    request.body?.cancel().catch(() => {})
    if (request.method !== 'POST') return new Response(null, { status: 405, headers: { allow: 'POST' } })
    if (!isAllowed(request.headers.get('authorization') ?? '')) {
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

/** Has `work` run once after each call, but for all calls that come while it runs once together. */
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
