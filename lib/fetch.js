'use strict'

const { assemble } = require('./transfer.js')
const { pollAgain, requestUnlessFound } = require('./cold-start.js')
const { FlagCacheError, translate } = require('./error.js')
const { describe, tellFailure } = require('./fetch-failure.js')
const { NativeText } = require('./native.js')
const { inWords } = require('./refusal.js')
const { asksForDefinitions, isDefinitionsPath } = require('./request.js')

/** The limit of `src/limits.rs`. A longer body is passed on unread. */
const MAX_BYTES = 64 * 1024 * 1024

/** The cache would share the definitions of one project as those of another. */
const ofAnotherProject = () =>
  new FlagCacheError(
    'ERR_FLAG_CACHE_OPTIONS',
    'flagCache.fetch got a request for the definitions of another project, which it does not share. Use the same project key in option ' +
      "'projectKey' and in the PostHog client.",
  )

/**
 * Makes a fetch whose requests for the definitions carry the shared ETag, and whose outcome all processes learn. All other requests pass
 * through unchanged.
 *
 * `attempt` runs one of our own calls and reports its failure. It never rejects, because the client must get its answer in any case.
 * `share` does the same for calls that change the shared state. `report` calls the listeners of `onError()`. `during` marks a call of the
 * client as running.
 */
function shareEtag(context, inner) {
  const { native, client, bill, projectKey, keepsRefused, attempt, share, report, during } = context
  const failed = (why, response) => tellFailure(context, why, response)
  return function fetch(url, options) {
    return isForDefinitions(url, options) ? during(() => fetchDefinitions(url, options)) : inner(url, options)
  }

  function isForDefinitions(url, options) {
    if ((options?.method ?? 'GET') !== 'GET' || !(typeof url === 'string' || url instanceof URL) || !URL.canParse(url)) {
      return false
    }
    const parsed = new URL(url)
    if (!asksForDefinitions(parsed, projectKey)) {
      if (isDefinitionsPath(parsed.pathname)) report(ofAnotherProject())
      return false
    }
    client.origin ??= parsed.origin
    return client.origin === parsed.origin
  }

  async function fetchDefinitions(url, options) {
    const { isEmergency, isAnsweredHere } = client
    client.isAnsweredHere = false
    const holding = (version) => held({ url: String(url) }, version)
    if (client.isCacheEmpty && (await pollAgain(context, options?.signal))) return holding(client.held.version)
    const { etag, version, pauseMs, isCacheEmpty, copied } = plan()
    // The local copy counts if this process has nothing else.
    const copy = async () => copied !== undefined && (await holding(version ?? copied))
    const answer = isAnsweredHere && (await holding(version ?? copied))
    if (answer) return answer
    if (isEmergency && (pauseMs || client.isClosed)) {
      const answer = !client.isClosed && (await copy())
      if (answer) return answer
      return new Response(null, { status: 503, headers: { 'retry-after': String(Math.ceil((pauseMs ?? 0) / 1000)) } })
    }
    let response, body
    try {
      const given = client.isUnshared ? options : withEtag(options, etag)
      const request = (signal) => ask(url, { ...given, signal })
      const isRaced = isCacheEmpty && !client.isUnshared
      const answered = await (isRaced ? requestUnlessFound(context, request, options?.signal) : request(options?.signal))
      if (!answered) return holding(client.held.version)
      ;({ response, body } = answered)
      if (response.status === 304) client.isBackedOff = false
      if (response.status === 304 && client.isUnshared) {
        // Report it again, because the first report may have failed.
        await share(() => native.unshareable())
        return response
      }
      if (response.status === 304 && version !== undefined) {
        await share(() => native.confirmed(version))
        const found = await held(response, version)
        if (found)
          return found
          // The definitions with this ETag are gone.
        ;({ response, body } = await ask(url, withEtag(options)))
      }
      if (body) return await received(response, body, isEmergency, copy)
    } catch (error) {
      await failed(describe(error))
      const answer = await copy()
      if (answer) return answer
      throw error
    }
    const { status } = response
    if (status === 304) return response
    await failed(inWords(status), response)
    // posthog-node drops its definitions when it sees a 402.
    if (status === 402) return (keepsRefused && (await held(response, version ?? copied))) || response
    const isUnreachable = status === 429 || status >= 500
    return (isUnreachable && (await copy())) || response
  }

  /** The response and, if it is a 200, its body. */
  async function ask(url, options) {
    const response = await inner(url, options)
    bill.answered(response.status)
    return { response, body: response.status === 200 ? await bodyOf(response) : undefined }
  }

  function plan() {
    try {
      return native.plan()
    } catch (error) {
      report(error)
      return {}
    }
  }

  /** The other processes fetch for themselves. So does this client, with its own ETag. */
  async function unshareable(error) {
    report(error)
    client.isUnshared = true
    await share(() => native.unshareable())
  }

  /** `copy()`: returns the response that replaces an answer without definitions, if there is one. */
  async function received(response, { chunks, text, rest }, isEmergency, copy) {
    if (rest) {
      await unshareable(
        new FlagCacheError(
          'ERR_FLAG_CACHE_TOO_LARGE',
          `PostHog's answer has more than ${MAX_BYTES} bytes, so each process fetches for itself. Delete flags that are no longer used.`,
        ),
      )
      return responseOf(() => chunks, response, rest)
    }
    const etag = response.headers?.get('etag') ?? undefined
    // The pieces are relative to these definitions. Another call may replace them meanwhile.
    const { held } = client
    let fetched
    try {
      fetched = await native.decode(text, held.version)
    } catch (cause) {
      const error = translate(cause)
      // Any other error says nothing about the answer.
      if (error.code !== 'ERR_FLAG_CACHE_DATA') await unshareable(error)
      else {
        await failed(`PostHog answered 200, but ${error.message}`)
        const answer = await copy()
        if (answer) return answer
      }
      return responseOf(() => chunks, response)
    }
    client.isUnshared = false
    const publish = once(() => native.publish(fetched, etag))
    const make = async () => {
      client.held = await assemble(fetched.definitions(), held)
      // If posthog-node was told not to fetch, it does not call onFlagDefinitionsReceived().
      if (isEmergency) share(publish)
      return client.held.definitions
    }
    return withJson(
      responseOf(() => chunks, response),
      make,
      publish,
    )
  }

  /**
   * The definitions of this version as a 200, even if this client has them: several clients may share this cache, and it does not know
   * which of them has which version. `undefined` if this process does not have the definitions.
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

  /** Its `json()` parses only what this process does not have yet, and calls `publish` with the result. */
  function withJson(response, make, publish) {
    client.isBackedOff = false
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

/** The body as chunks and as text. If it is too large, only its beginning; `rest` is the remainder. */
async function bodyOf(response) {
  const text = new NativeText()
  const chunks = []
  const rest = chunksOf(response)
  let length = 0
  for (let next = await rest.next(); !next.done; next = await rest.next()) {
    chunks.push(next.value)
    length += next.value.length
    if (length > MAX_BYTES) return { chunks, rest }
    text.pushBytes(next.value)
  }
  return { chunks, text }
}

/** The body, from any kind of fetch. */
async function* chunksOf(response) {
  if (!response.body?.[Symbol.asyncIterator]) {
    // A response from a mock or from a wrapper around another client may have only `json()`.
    return yield Buffer.from(typeof response.text === 'function' ? await response.text() : JSON.stringify(await response.json()))
  }
  for await (const chunk of response.body) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk
}

/** A 200 with the URL and the headers of the API's response. Its body is assembled when it is read; `rest` is the remainder. */
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
  // With a custom fetch, the headers may have only `get()`.
  const isWhole = typeof headers?.[Symbol.iterator] === 'function'
  const etag = headers?.get('etag')
  const kept = new Headers(isWhole ? headers : { ...(etag && { etag }) })
  // These headers describe the received bytes, not this body.
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

module.exports = { shareEtag }
