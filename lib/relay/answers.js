'use strict'

/**
 * The relay's own answers: `{ status, headers, body }`, with header names in lower case. All other requests go to PostHog. Errors have the
 * same form as PostHog's.
 */

const { FlagCacheError } = require('../error.js')
const { bearerOf } = require('../secret.js')
const { encodingFor, isKnown } = require('./negotiation.js')
const { isDefinitionsPath } = require('../request.js')

const JSON_TYPE = 'application/json'
/** PostHog's own. */
const CACHE_CONTROL = 'private, must-revalidate'
const METHODS = 'GET, OPTIONS, HEAD'

function json(status, value, headers) {
  const body = Buffer.from(JSON.stringify(value))
  return { status, headers: { 'content-type': JSON_TYPE, 'content-length': String(body.length), ...headers }, body }
}

function text({ type, text }) {
  const body = Buffer.from(text)
  return { status: 200, headers: { 'content-type': type, 'content-length': String(body.length) }, body }
}

const failure = (status, type, code, detail, headers) => json(status, { type, code, detail, attr: null }, headers)

const BAD_PATH = failure(
  400,
  'invalid_request',
  'invalid_path',
  'The path of the request is not valid. Remove the segments . and .., backslashes and broken % escapes.',
)
const BAD_HOST = failure(400, 'invalid_request', 'invalid_host', 'The request must have one valid Host header.')
const BAD_FRAMING = failure(
  400,
  'invalid_request',
  'transfer_encoding',
  'The end of the request is not clear. Use HTTP/1.1, with "chunked" as the last transfer encoding, or send a Content-Length.',
)
const UNKNOWN_FRAMING = failure(501, 'invalid_request', 'transfer_encoding', 'The relay supports only the transfer encoding "chunked".')
const NO_PROXY = failure(
  404,
  'invalid_request',
  'not_found',
  'This relay serves only flag definitions. Send other requests to PostHog, or start the relay without --no-proxy (proxy: false).',
)
const BUSY = failure(503, 'server_error', 'relay_busy', 'The relay is handling too many requests. Try again.', { 'retry-after': '1' })
const NO_DEFINITIONS = failure(503, 'server_error', 'no_definitions', 'The relay has no flag definitions yet. Try again.', {
  'retry-after': '1',
})
const UNREACHABLE = failure(502, 'server_error', 'upstream_unreachable', 'The relay cannot reach PostHog. Try again later.')
const SILENT = failure(504, 'server_error', 'upstream_timeout', 'PostHog did not answer the relay in time. Try again later.')

const LOOP = failure(508, 'server_error', 'loop_detected', "The request has come back to this relay. Correct the relay's PostHog URL.")

/**
 * The normalized path: decoded, and without empty segments. `undefined` if PostHog's servers might read the path differently: dot segments,
 * backslashes, broken escapes.
 */
function plainPath(path) {
  if (!path.startsWith('/')) return undefined
  let plain = path
  try {
    if (path.includes('%')) plain = decodeURIComponent(path)
  } catch {
    return undefined
  }
  if (/\\|(^|\/)\.{1,2}(\/|$)/.test(plain)) return undefined
  return plain.replace(/\/{2,}/g, '/')
}

/** The definitions, for clients with the secret key of the project. */
class OwnAnswers {
  #source
  #hasKey
  #projectKey
  #maxAgeMs
  #counters
  #metrics
  #via
  #report

  /**
   * `maxAgeMs`: with older definitions, the relay is not ready. `metrics()`: the text of the metrics
   * and its type, if they are served. `report(error)` calls the listeners of `onError()`.
   */
  constructor({ source, secretKey, projectKey, maxAgeMs, counters, metrics, via, report }) {
    this.#source = source
    this.#hasKey = bearerOf(secretKey)
    this.#projectKey = projectKey
    this.#maxAgeMs = maxAgeMs
    this.#counters = counters
    this.#metrics = metrics
    this.#via = via
    this.#report = report
  }

  /** The answer or a promise of it; `undefined` if PostHog must answer. `target`: path and query. `header(name)` reads a header. */
  of(method, target, header) {
    const [given, query = ''] = split(target)
    const path = plainPath(given)
    if (path === undefined) return BAD_PATH
    if (this.#via.isLoop(header('via'))) return this.#loop()
    if (isDefinitionsPath(path)) return this.#count(this.#definitions(method, query, header))
    if (path === '/healthz') return json(200, { status: 'ok' })
    if (path === '/readyz') return this.#readiness()
    if (path === '/metrics' && this.#metrics) return text(this.#metrics())
    return undefined
  }

  #definitions(method, query, header) {
    if (method === 'OPTIONS') return { status: 204, headers: { allow: METHODS } }
    if (method !== 'GET' && method !== 'HEAD')
      return failure(405, 'invalid_request', 'method_not_allowed', `Method "${method}" not allowed.`, { allow: METHODS })
    const isAllowed = this.#hasKey(header('authorization'))
    if (!isAllowed || new URLSearchParams(query).get('token') !== this.#projectKey)
      return failure(
        401,
        'authentication_error',
        'authentication_failed',
        'This relay does not accept the secret key or the project token. Use the key and the token of its project.',
        {
          'www-authenticate': 'Bearer',
        },
      )
    // Not before: a relay without the key gets nothing here, so nothing is requested for it.
    this.#via.remember(header('via'))
    if (this.#source.current || this.#source.isRefused) return this.#current(header)
    return this.#source.polled().then(() => this.#current(header))
  }

  #loop() {
    this.#report(
      new FlagCacheError(
        'ERR_FLAG_CACHE_OPTIONS',
        'a request has come back to this relay, because its PostHog URL leads here, directly or through another relay. Set the URL of ' +
          "PostHog's API with the option upstream (on the command line: --upstream or POSTHOG_HOST).",
      ),
    )
    return LOOP
  }

  #count(answer) {
    if (answer instanceof Promise) return answer.then((answer) => this.#count(answer))
    this.#counters.responded(answer.status, this.#source.isFailing)
    return answer
  }

  #current(header) {
    const { current, isRefused } = this.#source
    if (isRefused)
      return failure(
        402,
        'quota_limited',
        'payment_required',
        'PostHog refuses the flag definitions: the quota is used up. Check the billing limits.',
      )
    if (!current) return NO_DEFINITIONS
    const { etag } = current
    const headers = { etag, 'cache-control': CACHE_CONTROL, vary: 'Accept-Encoding' }
    if (isKnown(header('if-none-match'), etag)) return { status: 304, headers }
    const encoding = encodingFor(header('accept-encoding'))
    const whole = (body) => {
      const described = { 'content-type': JSON_TYPE, ...headers, 'content-length': String(body.length) }
      return { status: 200, headers: encoding === 'identity' ? described : { ...described, 'content-encoding': encoding }, body }
    }
    const body = current.body(encoding)
    return body instanceof Promise ? body.then(whole) : whole(body)
  }

  #readiness() {
    const { ageMs } = this.#source
    const isReady = ageMs !== null && ageMs <= this.#maxAgeMs
    return json(isReady ? 200 : 503, { status: isReady ? 'ready' : 'not ready', definitions: this.#source.current !== undefined, ageMs })
  }
}

function split(target) {
  const at = target.indexOf('?')
  return at < 0 ? [target] : [target.slice(0, at), target.slice(at + 1)]
}

module.exports = { OwnAnswers, BAD_FRAMING, BAD_HOST, UNKNOWN_FRAMING, NO_PROXY, BUSY, UNREACHABLE, SILENT }
