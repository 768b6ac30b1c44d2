'use strict'

const { FlagCacheError } = require('./error.js')

/** Where posthog-node asks for the definitions: the current path, and that of older versions. */
const PATHS = /\/(flags\/definitions|feature_flag\/local_evaluation)\/?$/

/**
 * Makes a fetch whose requests for the definitions carry the ETag of the fleet's snapshot, and whose
 * outcome the whole fleet learns. All other requests pass through untouched.
 *
 * `share` runs one of our own calls and reports its failure: it never rejects, because none of them may
 * cost the client its answer. `during` notes that a call of the client is under way.
 */
function shareEtag({ native, client, projectKey, share, report, during }, inner) {
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
      if (response.status === 200) return received(await response.text(), response.headers)
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
    const text = native.text(version)
    return typeof text === 'string' ? answer(text, { etag, version }) : askAgain()
  }

  function received(text, headers) {
    return answer(text, { etag: headers?.get('etag') ?? undefined })
  }

  /** A response with this text; `version` where the fleet has it already. */
  function answer(text, { etag, version }) {
    const headers = { 'content-type': 'application/json', ...(etag && { etag }) }
    const json = async () => {
      let data
      try {
        data = JSON.parse(text)
      } finally {
        if (!Array.isArray(data?.flags)) await share(() => native.failed())
      }
      if (!Array.isArray(data?.flags)) return data
      client.take({ version, etag })
      if (!client.isEmergency) {
        client.answers.set(data.flags, { text, etag, version })
      } else if (version === undefined) {
        // posthog-node, which was told not to fetch, will not say what it received.
        share(() => native.fetched(text, etag))
      }
      return data
    }
    return Object.defineProperty(new Response(text, { headers }), 'json', { value: json })
  }
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
