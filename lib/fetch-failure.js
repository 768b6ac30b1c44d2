'use strict'

const { FlagCacheError } = require('./error.js')
const { retryAfterMs } = require('./retry-after.js')

/** The maximum length of the message of a failed fetch. */
const MAX_MESSAGE = 1_000

/** Statuses after which posthog-node polls less often, until a request of its own succeeds. */
const BACK_OFF = [401, 403, 429]

/**
 * Reports a failed fetch of the definitions to the other processes and to the listeners of `onError()`. `native`, `client`, `report` and
 * `share` are those of `shareEtag()`. `response` is PostHog's answer, if there is one.
 */
async function tellFailure({ native, client, report, share }, why, response) {
  if (BACK_OFF.includes(response?.status)) client.isBackedOff = true
  const pauseMs = await share(() => native.failed(response?.status, retryAfterMs(response?.headers)))
  report(new FlagCacheError('ERR_FLAG_CACHE_API', `cannot fetch the flag definitions: ${why.replace(/\.$/, '')}.${whatFollows(pauseMs)}`))
}

/** `pauseMs`: for how long no process fetches; `null` if there is no pause, something else if that is not known. */
function whatFollows(pauseMs) {
  if (pauseMs === null) return ' Another process fetches instead, if there is one.'
  return typeof pauseMs === 'number' ? ` No process fetches for ${Math.ceil(pauseMs / 1_000)} s.` : ''
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
