'use strict'

const { assemble } = require('./assemble.js')
const { FlagCacheError } = require('./error.js')
const { NativeText } = require('./native.js')

/** Where posthog-node asks for the definitions: the current path, and that of older versions. */
const PATHS = /\/(flags\/definitions|feature_flag\/local_evaluation)\/?$/

/**
 * Makes a fetch whose requests for the definitions carry the ETag of the fleet's snapshot, and whose
 * outcome the whole fleet learns. All other requests pass through untouched.
 *
 * `attempt` runs one of our own calls and reports its failure: it never rejects, because none of them may
 * cost the client its answer. `share` is the same for what tells the fleet something. `during` notes that a
 * call of the client is under way.
 */
function shareEtag({ native, client, projectKey, attempt, share, report, during }, inner) {
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
    if (client.isEmergency && pauseMs) {
      return new Response(null, { status: 503, headers: { 'retry-after': String(Math.ceil(pauseMs / 1000)) } })
    }
    let response
    try {
      response = await inner(url, withEtag(options, etag))
      if (response.status === 200) return await received(response)
    } catch (error) {
      await share(() => native.failed())
      throw error
    }
    switch (response.status) {
      case 304:
        return unchanged(response, version, etag, () => inner(url, options))
      case 402: // posthog-node drops its definitions.
        client.take()
      // falls through
      case 401:
      case 403:
        report(new FlagCacheError('ERR_FLAG_CACHE_API', `PostHog answered ${response.status} to a request for the definitions`))
        return response
      default:
        await share(() => native.failed(retryAfterMs(response.headers)))
        return response
    }
  }

  function plan() {
    try {
      return native.plan()
    } catch (error) {
      report(error)
      return {}
    }
  }

  async function unchanged(response, version, etag, askAgain) {
    if (version === undefined) return response
    await share(() => native.confirmed(version))
    if (client.has({ version, etag })) return response
    const { held } = client
    const fetched = await attempt(() => native.newest(version, held.version))
    return fetched ? answer({ fetched, held, etag, chunks: () => [fetched.text()], publish: async () => {} }) : askAgain()
  }

  async function received(response) {
    const text = new NativeText()
    const chunks = []
    for await (const chunk of chunksOf(response)) {
      text.pushBytes(chunk)
      chunks.push(chunk)
    }
    const etag = response.headers?.get('etag') ?? undefined
    // What the pieces are new to: another call may put something else there meanwhile.
    const { held } = client
    const fetched = await attempt(() => native.decode(text, held.version))
    if (fetched) return answer({ fetched, held, etag, chunks: () => chunks, publish: () => native.publish(fetched, etag) })
    await share(() => native.failed())
    return responseOf(() => chunks, etag)
  }

  /** A response with these definitions, whose `json()` makes only what the client does not have yet. */
  function answer({ fetched, held, etag, chunks, publish }) {
    const make = async () => {
      client.held = await assemble(fetched.definitions(), held)
      const { version, definitions } = client.held
      client.take({ version, etag })
      // posthog-node, if it was told not to fetch, will not say what it received.
      if (client.isEmergency) share(publish)
      else client.answers.set(definitions.flags, publish)
      return definitions
    }
    let made
    // Each piece comes once.
    const json = () => (made ??= make())
    return Object.defineProperty(responseOf(chunks, etag), 'json', { value: json })
  }
}

/** The body, whatever kind of fetch it comes from. */
async function* chunksOf(response) {
  if (!response.body?.[Symbol.asyncIterator]) return yield Buffer.from(await response.text())
  for await (const chunk of response.body) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk
}

/** A response whose body is only put together if somebody reads it. */
function responseOf(chunks, etag) {
  const pull = (controller) => {
    for (const chunk of chunks()) controller.enqueue(chunk)
    controller.close()
  }
  const headers = { 'content-type': 'application/json', ...(etag && { etag }) }
  return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }), { headers })
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
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return ms > 0 ? Math.min(ms, Number.MAX_SAFE_INTEGER) : undefined
}

module.exports = { shareEtag }
