// The global fetch of a worker: it names the worker to the stand-in, and simulates that this process alone cannot reach PostHog.

import { once } from 'node:events'
import { createServer } from 'node:http'

import { now, sleep } from './clock.mjs'

const RETRY_AFTER_S = 1

const refused = (status, headers) => (_, response) => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(JSON.stringify({ detail: `simulated ${status}` }))
}
const answered = (type, body) => (_, response) => response.writeHead(200, { 'content-type': type }).end(body)
const unreachable = (code, message) => () => {
  // As Node.js's own fetch does.
  throw new TypeError('fetch failed', { cause: Object.assign(new Error(message), { code }) })
}

/** Errors that only another host can cause: `() => never`. */
const ERRORS = {
  dns: unreachable('ENOTFOUND', 'getaddrinfo ENOTFOUND posthog.invalid'),
  clock: unreachable('CERT_NOT_YET_VALID', 'certificate is not yet valid'),
}

/** What a sick process is answered instead of by PostHog: `(request, response, settings)`. `retryAfter` (seconds) comes with '429'. */
const ANSWERS = {
  hang: () => {},
  500: refused(500),
  401: refused(401),
  402: refused(402),
  403: refused(403),
  429: (request, response, { retryAfter = RETRY_AFTER_S }) => refused(429, { 'retry-after': String(retryAfter) })(request, response),
  html: answered('text/html', '<!doctype html><title>Sign in</title>'),
  'html-json': answered('application/json', '{"flags":["maintenance"]}'),
}

const KINDS = [...Object.keys(ERRORS), ...Object.keys(ANSWERS), 'network', 'slow']

/**
 * Patches the global fetch, so that it works beneath every wrapper and without a provider. `report(at)` tells of each request of
 * the sick process. Returns `{ sicken(kind, settings), cure() }`; `settings.afterMs` delays 'slow'.
 *
 * A sick process's requests are real ones, to a server of its own: a cache may observe Node.js's own fetch.
 */
export function installSickFetch({ id, host }, report) {
  const plainFetch = globalThis.fetch
  let sickness
  globalThis.fetch = async (resource, options = {}) => {
    const url = String(resource?.url ?? resource)
    if (!url.startsWith(host)) return plainFetch(resource, options)
    const headers = new Headers(options.headers ?? resource?.headers)
    headers.set('x-worker', id)
    if (!sickness) return plainFetch(resource, { ...options, headers })
    report(now())
    const { kind, settings } = sickness
    ERRORS[kind]?.()
    if (kind === 'slow') {
      await Promise.race([sleep(settings.afterMs), aborted(options.signal)])
      return plainFetch(resource, { ...options, headers })
    }
    const server = await serve((request, response) => ANSWERS[kind](request, response, settings))
    if (kind === 'network') server.close()
    try {
      return await plainFetch(url.replace(host, server.url), options)
    } finally {
      server.close()
    }
  }
  return {
    sicken(kind, settings = {}) {
      if (!KINDS.includes(kind)) throw new Error(`unknown sickness "${kind}": ${KINDS.join(', ')}`)
      sickness = { kind, settings }
    },
    cure() {
      sickness = undefined
    },
  }
}

/** A server that ends with its last connection, and keeps no process alive. */
async function serve(listener) {
  const server = createServer(listener).unref()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() }
}

function aborted(signal) {
  return new Promise((_, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}
