'use strict'

const { FlagCacheError } = require('./error.js')
const { retryAfterMs } = require('./retry-after.js')

/** The maximum length of the message of a failed fetch. */
const MAX_MESSAGE = 1_000

/** Statuses after which posthog-node polls less often, until a request of its own succeeds. */
const BACK_OFF = [401, 403, 429]

/** Statuses after which no other process fetches instead. */
const PAUSES = [402, 429]

/**
 * Reports a failed fetch of the definitions to the listeners of `onError()` and to the other processes. `native`, `client`, `report` and
 * `share` are those of `shareEtag()`. `response` is PostHog's answer, if there is one.
 */
async function tellFailure({ native, client, report, share }, why, response) {
  if (BACK_OFF.includes(response?.status)) client.isBackedOff = true
  const others = PAUSES.includes(response?.status) ? '' : ' Another process fetches instead, if there is one.'
  report(new FlagCacheError('ERR_FLAG_CACHE_API', `cannot fetch the flag definitions: ${why.replace(/\.$/, '')}.${others}`))
  await share(() => native.failed(response?.status, retryAfterMs(response?.headers)))
}

/** One line of limited length. It includes the cause, which says more than the message of a failed fetch. */
function describe(error) {
  try {
    const { message = error, cause } = error ?? {}
    return [message, cause?.code ?? cause?.message].filter(Boolean).map(String).join(': ').slice(0, MAX_MESSAGE)
  } catch {
    return 'the error cannot be shown'
  }
}

module.exports = { describe, tellFailure }
