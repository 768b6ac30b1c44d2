'use strict'

const { assemble } = require('./assemble.js')
const { FlagCacheError, translate } = require('./error.js')
const { NativeText } = require('./native.js')

/** Where posthog-node asks for the definitions: the current path, and that of older versions. */
const PATHS = /\/(flags\/definitions|feature_flag\/local_evaluation)\/?$/

/** The limit of `src/limits.rs`: what exceeds it is passed on unread. */
const MAX_BYTES = 64 * 1024 * 1024
/** Maximum length of what an error of the inner fetch says. */
const MAX_MESSAGE = 1_000

/**
 * Makes a fetch whose requests for the definitions carry the ETag of the fleet's snapshot, and whose
 * outcome the whole fleet learns. All other requests pass through untouched.
 *
 * `attempt` runs one of our own calls and reports its failure: it never rejects, because none of them may
 * cost the client its answer. `share` is the same for what tells the fleet something. `report` tells the
 * listeners of `onError()`. `during` notes that a call of the client is under way.
 */
function shareEtag({ native, client, projectKey, keepsRefused, attempt, share, report, during }, inner) {
  return function fetch(url, options) {
    return isForDefinitions(url, options) ? during(() => fetchDefinitions(url, options)) : inner(url, options)
  }

  function isForDefinitions(url, options) {
    if ((options?.method ?? 'GET') !== 'GET' || !(typeof url === 'string' || url instanceof URL) || !URL.canParse(url)) {
      return false
    }
    const { origin, pathname, searchParams } = new URL(url)
    if (!PATHS.test(pathname) || searchParams.get('token') !== projectKey) return false
    client.origin ??= origin
    return client.origin === origin
  }

  async function fetchDefinitions(url, options) {
    const { etag, version, pauseMs } = plan()
    const { isEmergency } = client
    if (isEmergency && (pauseMs || client.isClosed)) {
      return new Response(null, { status: 503, headers: { 'retry-after': String(Math.ceil((pauseMs ?? 0) / 1000)) } })
    }
    let response
    try {
      response = await inner(url, client.isUnshared ? options : withEtag(options, etag))
      if (response.status === 304 && client.isUnshared) {
        // Once more: it may not have been heard before.
        await share(() => native.unshareable())
        return response
      }
      if (response.status === 304 && version !== undefined) {
        await share(() => native.confirmed(version))
        const found = await held(response, version)
        if (found) return found
        // The definitions that the ETag stands for are gone.
        response = await inner(url, withEtag(options))
      }
      if (response.status === 200) return await received(response, isEmergency)
    } catch (error) {
      await failed(describe(error))
      throw error
    }
    if (response.status === 304) return response
    await failed(`PostHog answered ${response.status}`, response)
    // posthog-node drops its definitions when it sees this status.
    return (response.status === 402 && keepsRefused && (await held(response, version))) || response
  }

  function plan() {
    try {
      return native.plan()
    } catch (error) {
      report(error)
      return {}
    }
  }

  /** Tells the fleet, so that another process fetches, and the listeners. */
  async function failed(why, { status, headers } = {}) {
    report(new FlagCacheError('ERR_FLAG_CACHE_API', `cannot fetch the flag definitions: ${why}. Another process of the fleet fetches, if there is one`))
    await share(() => native.failed(status, retryAfterMs(headers)))
  }

  /** The others fetch for themselves; so does this client, with its own ETag. */
  async function unshareable(error) {
    report(error)
    client.isUnshared = true
    await share(() => native.unshareable())
  }

  async function received(response, isEmergency) {
    const text = new NativeText()
    const chunks = []
    const body = chunksOf(response)
    let length = 0
    for (let next = await body.next(); !next.done; next = await body.next()) {
      chunks.push(next.value)
      length += next.value.length
      if (length > MAX_BYTES) {
        await unshareable(new FlagCacheError('ERR_FLAG_CACHE_TOO_LARGE', `PostHog's answer has more than ${MAX_BYTES} bytes: it is not shared`))
        return responseOf(() => chunks, response, body)
      }
      text.pushBytes(next.value)
    }
    const etag = response.headers?.get('etag') ?? undefined
    // What the pieces are new to: another call may put something else there meanwhile.
    const { held } = client
    let fetched
    try {
      fetched = await native.decode(text, held.version)
    } catch (cause) {
      const error = translate(cause)
      // Any other error says nothing about the answer.
      if (error.code === 'ERR_FLAG_CACHE_DATA') await failed(`PostHog's answer holds none: ${error.message}`)
      else await unshareable(error)
      return responseOf(() => chunks, response)
    }
    client.isUnshared = false
    const publish = once(() => native.publish(fetched, etag))
    const make = async () => {
      client.held = await assemble(fetched.definitions(), held)
      // posthog-node, if it was told not to fetch, will not say what it received.
      if (isEmergency) share(publish)
      return client.held.definitions
    }
    return withJson(responseOf(() => chunks, response), make, publish)
  }

  /**
   * The definitions of this version as a 200, whether this client has them or not: several may share this
   * cache, and what one of them holds is not known. `undefined` where this process does not hold them.
   */
  async function held(response, version) {
    if (version === undefined) return undefined
    const { held } = client
    const fetched = held.version === version ? undefined : await attempt(() => native.newest(version, held.version))
    if (!fetched && held.version !== version) return undefined
    const make = async () => {
      if (fetched) client.held = await assemble(fetched.definitions(), held)
      return fetched ? client.held.definitions : held.definitions
    }
    const chunks = () => [fetched ? fetched.text() : Buffer.from(JSON.stringify(held.definitions))]
    return withJson(responseOf(chunks, response), make, async () => {})
  }

  /** Its `json()` makes only what this process does not have yet, and `publish` is called with what it made. */
  function withJson(response, make, publish) {
    const json = once(async () => {
      const definitions = await make()
      client.version = client.held.version
      client.answers.set(definitions.flags, publish)
      return definitions
    })
    return Object.defineProperty(response, 'json', { value: json })
  }
}

/** The same promise for every call. */
function once(work) {
  let promise
  return () => (promise ??= work())
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

/** The body, whatever kind of fetch it comes from. */
async function* chunksOf(response) {
  if (!response.body?.[Symbol.asyncIterator]) return yield Buffer.from(await response.text())
  for await (const chunk of response.body) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk
}

/** A 200 with the URL and the headers of the API's response. Its body is only put together when it is read; `rest` is what follows. */
function responseOf(chunks, { url = '', headers }, rest) {
  let isBegun = false
  const pull = async (controller) => {
    if (!isBegun) for (const chunk of chunks()) controller.enqueue(chunk)
    isBegun = true
    const next = await rest?.next()
    if (next && !next.done) controller.enqueue(next.value)
    else controller.close()
  }
  const cancel = () => rest?.return()
  // A fetch of the user's own may give nothing of them but `get()`.
  const isWhole = typeof headers?.[Symbol.iterator] === 'function'
  const etag = headers?.get('etag')
  const kept = new Headers(isWhole ? headers : { ...(etag && { etag }) })
  // They describe the bytes that were received, not these.
  for (const name of ['content-encoding', 'content-length', 'transfer-encoding']) kept.delete(name)
  if (!kept.has('content-type')) kept.set('content-type', 'application/json')
  const response = new Response(new ReadableStream({ pull, cancel }, { highWaterMark: 0 }), { headers: kept })
  return Object.defineProperty(response, 'url', { value: url })
}

function withEtag(options, etag) {
  const headers = new Headers(options?.headers)
  headers.delete('if-none-match')
  if (etag) headers.set('if-none-match', etag)
  return { ...options, headers: Object.fromEntries(headers) }
}

/** Both forms of RFC 9110, 10.2.3: seconds, or a date. */
function retryAfterMs(headers) {
  const value = headers?.get('retry-after')
  if (!value) return undefined
  // The clock that the date is of: this process's own may be wrong.
  const now = Date.parse(headers.get('date')) || Date.now()
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now
  return ms > 0 ? Math.min(ms, Number.MAX_SAFE_INTEGER) : undefined
}

module.exports = { shareEtag }
