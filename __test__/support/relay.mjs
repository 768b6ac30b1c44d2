// Relays in the process of the test, behind Node.js's server or as a handler of the Fetch API; and a server to pass requests on to.

import { once } from 'node:events'
import { createServer, request as send } from 'node:http'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'

const require = createRequire(import.meta.url)
const { close, open } = require('../../lib/relay/relay.js')
const { Server } = require('../../lib/relay/server.js')
const { Upstream } = require('../../lib/relay/upstream.js')

export { createRelay } from '../../relay.js'

/** The options of a relay for the project of `api`, a stand-in for PostHog. */
export const optionsFor = (api, options) => ({
  projectKey: api.projectKey,
  secretKey: api.secretKey,
  upstream: api.url,
  url: 'memory:',
  ...options,
})

/**
 * A relay until the test ends: `{ url, port, relay, server, troubles, close() }`. `limits` are those of the server, `proxyLimits` those
 * of what it passes on.
 */
export async function startRelay(t, { api, limits, proxyLimits, port = 0, ...options }) {
  const troubles = []
  const relay = open(optionsFor(api, options), true)
  relay.cache.onError((error) => troubles.push(error))
  if (proxyLimits) {
    const { counters, via } = relay
    relay.upstream = new Upstream(options.upstream ?? api.url, { report: (error) => troubles.push(error), counters, via }, proxyLimits)
  }
  const server = new Server(relay, limits)
  const address = await server.listen(port, '127.0.0.1')
  relay.source.start()
  let closed
  const end = () => {
    closed ??= server.close().then(() => close(relay))
    return closed
  }
  t.after(end)
  return { url: `http://127.0.0.1:${address.port}`, port: address.port, relay, server, troubles, close: end }
}

/** Where an SDK asks for the definitions, and how. */
export const ask = (url, { projectKey, secretKey }, { path = '/flags/definitions', ...headers } = {}) => ({
  url: `${url}${path}?token=${projectKey}&send_cohorts`,
  headers: { authorization: `Bearer ${secretKey}`, ...headers },
})

/** One exchange, nothing of it decoded: `{ status, reason, headers, raw, body }`. */
export async function exchange(url, { method = 'GET', headers, body, agent } = {}) {
  const request = send(url, { method, headers, agent })
  request.end(body)
  const [response] = await once(request, 'response')
  const chunks = await response.toArray()
  const { statusCode: status, statusMessage: reason, headers: received, rawHeaders: raw } = response
  return { status, reason, headers: received, raw, body: Buffer.concat(chunks) }
}

/**
 * A server to pass requests on to, which `answer(request, response)` makes answers for: `{ url, requests }`. It has no definitions.
 * Without an `answer` it reads the body.
 */
export async function startUpstream(t, answer = (_, response, body) => body().then(() => response.end())) {
  const requests = []
  const server = createServer((request, response) => {
    const { method, url, headers } = request
    if (url.includes('/flags/definitions')) return response.writeHead(404).end()
    const seen = { method, url, headers }
    requests.push(seen)
    const body = async () => (seen.body = Buffer.concat(await request.toArray()))
    answer(request, response, body)
  })
  // As the relay: from Node.js 24, more than 2,000 headers get a 431.
  server.maxHeadersCount = 0
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return { url: `http://127.0.0.1:${server.address().port}`, requests, server }
}

/** Resolves with what `look()` finds, as soon as that is true. */
export async function until(look) {
  for (const deadline = performance.now() + 20_000; performance.now() < deadline; ) {
    const found = await look()
    if (found) return found
    await sleep(20)
  }
  throw new Error('it did not come true within 20 s')
}
