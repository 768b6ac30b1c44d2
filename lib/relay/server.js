'use strict'

const { createServer } = require('node:http')
const { pipeline } = require('node:stream/promises')

const { NO_PROXY, UNKNOWN_FRAMING } = require('./answers.js')
const { endToEnd } = require('./headers.js')

/**
 * What a client may take: time for the headers, for the whole request, between two bytes, between two requests, and for the requests
 * that are under way when the server is told to close.
 */
const LIMITS = { headersMs: 10_000, requestMs: 120_000, silenceMs: 60_000, keepAliveMs: 65_000, drainMs: 10_000, connections: 10_000 }

/** How many connections may wait to be taken: all clients come at once after a restart. */
const BACKLOG = 4_096

/** How long the rest of a body is read after the answer. */
const LINGER_MS = 1_000

/** Node.js's own server over a relay. It does not go through `Request` and `Response`, which would cost most of the time. */
class Server {
  #relay
  #limits
  #server

  /** `relay`: `{ answers, upstream }`; without `upstream` nothing is passed on. */
  constructor(relay, limits) {
    this.#relay = relay
    this.#limits = { ...LIMITS, ...limits }
    const { headersMs, requestMs, keepAliveMs } = this.#limits
    const options = {
      insecureHTTPParser: false,
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      keepAliveTimeout: keepAliveMs,
      connectionsCheckingInterval: Math.min(headersMs, 5_000),
    }
    this.#server = createServer(options, (request, response) => this.#handle(request, response))
    this.#server.maxConnections = this.#limits.connections
    this.#server.setTimeout(this.#limits.silenceMs)
  }

  /** Resolves with the address that it listens at. */
  async listen(port, host) {
    await new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ port, host, backlog: BACKLOG }, resolve)
    })
    return this.#server.address()
  }

  /** Takes no more connections, and resolves when the requests under way have been answered. */
  async close() {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    // Again and again: those of requests that were under way become idle later, and their clients would keep them.
    const sweep = setInterval(() => this.#server.closeIdleConnections(), 100)
    const timer = setTimeout(() => this.#server.closeAllConnections(), this.#limits.drainMs)
    await closed
    clearInterval(sweep)
    clearTimeout(timer)
  }

  #handle(request, response) {
    // Clients that keep their connections would keep us from closing.
    if (!this.#server.listening) response.shouldKeepAlive = false
    const encoding = request.headers['transfer-encoding']
    // Another one would be lost on the way, and the body be taken for something else.
    if (encoding !== undefined && encoding.toLowerCase() !== 'chunked') return send(request, response, UNKNOWN_FRAMING)
    const header = (name) => request.headers[name]
    const answer = this.#relay.answers.of(request.method, request.url, header) ?? (this.#relay.upstream ? undefined : NO_PROXY)
    if (answer && !(answer instanceof Promise)) return send(request, response, answer)
    const work = answer ? answer.then((answer) => send(request, response, answer)) : this.#pass(request, response)
    work.catch(() => response.destroy())
  }

  async #pass(request, response) {
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const { method, url: target, rawHeaders: headers, socket } = request
    const body = hasBody(request) ? request : undefined
    const sent = { method, target, headers, body, address: socket.remoteAddress, signal: gone.signal }
    const { response: found, answer } = await this.#relay.upstream.send(sent)
    if (answer) return send(request, response, answer)
    if (isUnread(request)) response.shouldKeepAlive = false
    response.writeHead(found.statusCode, found.statusMessage, endToEnd(found.rawHeaders))
    // If one side breaks, so does the other: half an answer must not pass for a whole one.
    await pipeline(found, response)
  }
}

function send(request, response, { status, headers, body }) {
  if (!isUnread(request)) return response.writeHead(status, headers).end(body)
  response.shouldKeepAlive = false
  response.writeHead(status, headers)
  response.write(body ?? '')
  // The rest of a body that nobody wants is read for a while: a connection that is closed before takes the answer with it.
  request.resume()
  const timer = setTimeout(end, LINGER_MS)
  request.once('close', end)
  function end() {
    clearTimeout(timer)
    response.end()
  }
}

const hasBody = ({ headers }) => headers['transfer-encoding'] !== undefined || Number(headers['content-length']) > 0
const isUnread = (request) => hasBody(request) && !request.complete

module.exports = { Server }
