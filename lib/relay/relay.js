'use strict'

const { FlagDefinitionCache, internalsOf } = require('../cache.js')
const { DEFAULT_HOST, DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS, hostOf, isSecretKey } = require('../api.js')
const { FlagCacheError } = require('../error.js')
const { OwnAnswers } = require('./answers.js')
const { Counters } = require('./counters.js')
const { handler } = require('./fetch.js')
const { contentType, prometheus } = require('../metrics/prometheus.js')
const { Source } = require('./source.js')
const { Upstream } = require('./upstream.js')
const { Via } = require('./via.js')

/** The default of `FlagDefinitionCache`. */
const MAX_AGE_MS = 86_400_000

const BAD_KEY = "option 'secretKey' must be the secret key of the project, phs_… or phx_…, not the project key"

const BASE = 'http://relay.example'

/**
 * The parts of a relay: `{ cache, source, counters, via, status(), answers, upstream }`. It opens no connection before `source.start()`.
 * `hasMetrics`: whether it serves `/metrics`.
 */
function open({ secretKey, upstream = DEFAULT_HOST, proxy = true, requestTimeoutMs = DEFAULT_TIMEOUT_MS, ...options }, hasMetrics = false) {
  if (typeof secretKey !== 'string' || !isSecretKey(secretKey)) refuse(BAD_KEY)
  const host = typeof upstream === 'string' ? hostOf(upstream) : undefined
  if (!host) refuse("option 'upstream' must be a URL like https://eu.i.posthog.com, without user name, password or query")
  if (typeof proxy !== 'boolean') refuse("option 'proxy' must be true or false")
  if (!Number.isSafeInteger(requestTimeoutMs) || requestTimeoutMs < 1 || requestTimeoutMs > MAX_TIMEOUT_MS)
    refuse(`option 'requestTimeoutMs' must be a whole number of milliseconds, from 1 to ${MAX_TIMEOUT_MS}`)
  const cache = new FlagDefinitionCache(options)
  const { role } = options
  const { projectKey } = cache.status()
  // Project keys of other forms are public, too.
  if (secretKey === projectKey) refuse(BAD_KEY)
  const { featureFlagsPollingInterval: intervalMs } = cache.clientOptions
  const maxAgeMs = options.maxAgeMs ?? Math.max(MAX_AGE_MS, intervalMs)
  const request = { host, secretKey, timeoutMs: requestTimeoutMs }
  const via = new Via()
  const source = new Source(cache, { request, projectKey, intervalMs, isReader: role === 'reader', via })
  const counters = new Counters()
  const status = () => counters.addTo(cache.status())
  const { report } = internalsOf(cache)
  const metrics = hasMetrics ? () => ({ type: contentType, text: prometheus({ status }) }) : undefined
  return {
    cache,
    source,
    counters,
    via,
    status,
    answers: new OwnAnswers({ source, secretKey, projectKey, maxAgeMs, counters, metrics, via, report }),
    upstream: proxy ? new Upstream(host, { report, counters, via }) : undefined,
  }
}

/** Whether requests can have this path. URLs normalize others. */
const isPath = (text) => text === '' || (/^(\/[^/]+)+$/.test(text) && new URL(text, BASE).pathname === text)

function refuse(message) {
  throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', message)
}

async function close({ source, upstream }) {
  upstream?.close()
  await source.close()
}

/** What `posthog-flag-cache/relay` exports; see `relay.d.ts`. */
function createRelay(given) {
  const { basePath = '', compress = false, ...options } = given ?? {}
  if (typeof basePath !== 'string' || !isPath(basePath)) refuse("option 'basePath' must be a path like /relay, or ''")
  if (typeof compress !== 'boolean') refuse("option 'compress' must be true or false")
  const relay = open(options)
  const end = () => close(relay)
  return {
    fetch: handler(relay, { basePath, compress }),
    status: relay.status,
    onError: (listener) => relay.cache.onError(listener),
    close: end,
    [Symbol.asyncDispose]: end,
  }
}

module.exports = { open, close, createRelay }
