'use strict'

const { FlagCacheError } = require('./error.js')
const { retryAfterMs } = require('./retry-after.js')

/** Maximum length of what an error of a fetch says. */
const MAX_MESSAGE = 1_000

/** Statuses after which posthog-node polls less often, until a request of its own succeeds. */
const BACK_OFF = [401, 403, 429]

/**
 * Tells the listeners of `onError()` and the fleet that a fetch of the definitions has failed. `native`, `client`, `report` and
 * `share` are those of `shareEtag()`; `response` is what PostHog answered, if it did.
 */
async function tellFailure({ native, client, report, share }, why, response) {
  if (BACK_OFF.includes(response?.status)) client.isBackedOff = true
  report(
    new FlagCacheError(
      'ERR_FLAG_CACHE_API',
      `cannot fetch the flag definitions: ${why}. Another process of the fleet fetches, if there is one`,
    ),
  )
  await share(() => native.failed(response?.status, retryAfterMs(response?.headers)))
}

/** In a line of a reasonable length: the cause of a failed fetch says more than its message. */
function describe(error) {
  try {
    const { message = error, cause } = error ?? {}
    return [message, cause?.code ?? cause?.message].filter(Boolean).map(String).join(': ').slice(0, MAX_MESSAGE)
  } catch {
    return 'an error that cannot be shown'
  }
}

module.exports = { describe, tellFailure }
