'use strict'

const { FlagCacheError } = require('./error.js')
const { inWords } = require('./refusal.js')

/** posthog-node's defaults. */
const DEFAULT_HOST = 'https://us.i.posthog.com'
const DEFAULT_TIMEOUT_MS = 10_000

/** Longer timers of Node.js end at once. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1

/** PostHog's URL without a trailing slash; `undefined` if the text is not such a URL. */
function hostOf(text) {
  const host = URL.canParse(text) ? new URL(text) : undefined
  if (!host || !/^https?:$/.test(host.protocol) || host.username || host.password || host.search || host.hash) return undefined
  return host.href.replace(/\/+$/, '')
}

/**
 * Whether the text can be a secret key. It must be a token for a header (RFC 6750, 2.1), because fetch refuses other characters with an
 * error that contains the text. Quotes from an env file are such characters. A project key is public: a relay would serve the definitions
 * to everybody who knows it.
 */
const isSecretKey = (text) => /^(?!phc_)[\w.~+/-]+=*$/.test(text)

/**
 * Requests the definitions as posthog-node does. Resolves with a 200 or a 304. No message contains the key. `via`: the header `Via`, if a
 * relay requests them.
 */
async function requestDefinitions(fetch, projectKey, { host, secretKey, timeoutMs, via }) {
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${secretKey}`, ...(via && { Via: via }) }
  const signal = AbortSignal.timeout(timeoutMs)
  const url = `${host}/flags/definitions?token=${encodeURIComponent(projectKey)}&send_cohorts`
  const refuse = (message, cause) => {
    throw new FlagCacheError('ERR_FLAG_CACHE_API', message, cause)
  }
  try {
    const response = await fetch(url, { method: 'GET', headers, signal })
    if (response.status === 200 || response.status === 304) return response
    return refuse(`${inWords(response.status)}.${response.status >= 500 ? ' Try again later.' : ''}`)
  } catch (cause) {
    if (cause instanceof FlagCacheError) throw cause
    if (signal.aborted) return refuse(`PostHog did not answer within ${timeoutMs} ms. Try again later, or raise the timeout.`, cause)
    const why = cause.cause?.message || cause.cause?.code || cause.message
    return refuse(`PostHog cannot be reached at ${host}: ${why}. Check this URL and the network.`, cause)
  }
}

/** The definitions in a 200. */
async function definitionsIn(response) {
  try {
    return await response.json()
  } catch (cause) {
    const message = "PostHog's answer is not valid JSON. Check PostHog's URL: a proxy or another server may have answered."
    throw new FlagCacheError('ERR_FLAG_CACHE_API', message, cause)
  }
}

module.exports = { DEFAULT_HOST, DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS, hostOf, isSecretKey, requestDefinitions, definitionsIn }
