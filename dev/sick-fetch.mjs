// The global fetch of a worker: it names the worker to the stand-in, and simulates that this process alone cannot reach PostHog.

import { now, sleep } from './clock.mjs'

const RETRY_AFTER_S = 1

const refused = (status, headers) => () => Response.json({ detail: `simulated ${status}` }, { status, headers })
const unreachable = (code, message) => () => {
  // As Node.js's own fetch does.
  throw new TypeError('fetch failed', { cause: Object.assign(new Error(message), { code }) })
}

/**
 * What a sick process gets instead of an answer: `(signal, settings) => response`. A kind that resolves with nothing only delays
 * the request. `afterMs` delays 'slow'; `retryAfter` (seconds) comes with '429'.
 */
const SICKNESSES = {
  network: unreachable('ECONNREFUSED', 'connect ECONNREFUSED 203.0.113.1:443'),
  dns: unreachable('ENOTFOUND', 'getaddrinfo ENOTFOUND posthog.invalid'),
  clock: unreachable('CERT_NOT_YET_VALID', 'certificate is not yet valid'),
  hang: (signal) => aborted(signal),
  slow: (signal, { afterMs }) => Promise.race([sleep(afterMs), aborted(signal)]),
  500: refused(500),
  401: refused(401),
  402: refused(402),
  403: refused(403),
  429: (signal, { retryAfter = RETRY_AFTER_S }) => refused(429, { 'retry-after': String(retryAfter) })(),
  html: () => new Response('<!doctype html><title>Sign in</title>', { headers: { 'content-type': 'text/html' } }),
  'html-json': () => Response.json({ flags: ['maintenance'] }),
}

/**
 * Patches the global fetch, so that it works beneath every wrapper and without a provider. `report(at)` tells of each request of
 * the sick process. Returns `{ sicken(kind, settings), cure() }`.
 */
export function installSickFetch({ id, host }, report) {
  const plainFetch = globalThis.fetch
  let suffer
  globalThis.fetch = async (resource, options = {}) => {
    const url = String(resource?.url ?? resource)
    if (!url.startsWith(host)) return plainFetch(resource, options)
    if (suffer) {
      report(now())
      const response = await suffer(options.signal)
      if (response) return response
    }
    const headers = new Headers(options.headers ?? resource?.headers)
    headers.set('x-worker', id)
    return plainFetch(resource, { ...options, headers })
  }
  return {
    sicken(kind, settings = {}) {
      if (!SICKNESSES[kind]) throw new Error(`unknown sickness "${kind}": ${Object.keys(SICKNESSES).join(', ')}`)
      suffer = (signal) => SICKNESSES[kind](signal, settings)
    },
    cure() {
      suffer = undefined
    },
  }
}

function aborted(signal) {
  return new Promise((_, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}
