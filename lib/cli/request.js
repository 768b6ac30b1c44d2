'use strict'

const { FlagCacheError } = require('../error.js')
const { number } = require('./options.js')
const { UsageError } = require('./usage.js')

/** posthog-node's defaults. */
const DEFAULT_HOST = 'https://us.i.posthog.com'
const DEFAULT_TIMEOUT_MS = 10_000

/** What an answer means, in the words of who has to do something about it. */
const REFUSALS = {
  401: 'the secret key is wrong, or of another project',
  402: 'the quota of flag requests is used up (PostHog: Billing)',
  403: 'the secret key has no right to read the definitions',
  404: 'there is no such API: is POSTHOG_HOST right?',
  429: 'too many requests; the fleet pauses for as long as PostHog asks',
}

/** Where to ask, as whom, and how patiently. Of neither the host nor the key is anything repeated in a message. */
function requestOptions(values, env = process.env) {
  const secretKey = env.POSTHOG_SECRET_KEY?.trim()
  if (!secretKey)
    throw new UsageError('refresh needs the secret key of the project: the environment variable POSTHOG_SECRET_KEY, phs_… or phx_…')
  // What no header can hold would be quoted by the error that says so.
  if (!/^[\x21-\x7e]+$/.test(secretKey)) throw new UsageError('POSTHOG_SECRET_KEY holds characters that no key has')
  const given = values.host ?? (env.POSTHOG_HOST?.trim() || DEFAULT_HOST)
  const host = URL.canParse(given) ? new URL(given) : undefined
  if (!host || !/^https?:$/.test(host.protocol) || host.username || host.password || host.search || host.hash) {
    throw new UsageError('the host must be like https://eu.i.posthog.com, without user, password and query: --host, or POSTHOG_HOST')
  }
  const name = 'request-timeout-ms'
  const timeoutMs = values[name] === undefined ? DEFAULT_TIMEOUT_MS : number(name, values[name])
  return { secretKey, host: host.href.replace(/\/+$/, ''), timeoutMs }
}

/** Asks PostHog as posthog-node does. */
async function requestDefinitions(fetch, projectKey, { host, secretKey, timeoutMs }) {
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${secretKey}` }
  const signal = AbortSignal.timeout(timeoutMs)
  const url = `${host}/flags/definitions?token=${encodeURIComponent(projectKey)}&send_cohorts`
  const refuse = (message, cause) => {
    throw new FlagCacheError('ERR_FLAG_CACHE_API', message, cause)
  }
  try {
    const response = await fetch(url, { method: 'GET', headers, signal })
    if (response.status === 200 || response.status === 304) return response
    const meaning = REFUSALS[response.status] ?? (response.status >= 500 ? 'it fails; try again later' : 'which was not expected')
    return refuse(`PostHog answered ${response.status}: ${meaning}`)
  } catch (cause) {
    if (cause instanceof FlagCacheError) throw cause
    if (signal.aborted) return refuse(`PostHog did not answer within ${timeoutMs} ms`, cause)
    return refuse(`PostHog cannot be reached at ${host}: ${cause.cause?.message || cause.cause?.code || cause.message}`, cause)
  }
}

module.exports = { DEFAULT_HOST, DEFAULT_TIMEOUT_MS, requestOptions, requestDefinitions }
