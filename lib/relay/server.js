'use strict'

const { createServer } = require('node:http')
const { pipeline } = require('node:stream/promises')

const { BAD_FRAMING, BAD_HOST, NO_PROXY, UNKNOWN_FRAMING } = require('./answers.js')
const { combined, endToEnd } = require('./headers.js')

/**
 * The timeouts of a client: for the headers, for the whole request, between two bytes, between two requests, and for requests that are still
 * running when the server closes (Docker kills a container 10 s after SIGTERM).
 */
const LIMITS = { headersMs: 10_000, requestMs: 120_000, silenceMs: 60_000, keepAliveMs: 65_000, drainMs: 8_000, connections: 10_000 }

/** The maximum number of connections that wait to be accepted. After a restart all clients connect at once. */
const BACKLOG = 4_096

/** How long the rest of a request body is read after the answer. */
const LINGER_MS = 1_000

/** The relay as a Node.js HTTP server. It does not use `Request` and `Response`, which would take most of the time. */
class Server {
  #relay
  #limits
  #server
  /** Connections without a request so far. Node.js does not count them as idle. */
  #unused = new Set()
  /** Connections with a request whose end is not clear. What follows it may be a part of its body. */
  #unclear = new WeakSet()

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
    // Node.js drops headers beyond its limit silently, and the length of the body may be among them. Their size is limited, too.
    this.#server.maxHeadersCount = 0
    this.#server.on('connection', (socket) => {
      this.#unused.add(socket)
      socket.once('close', () => this.#unused.delete(socket))
    })
    this.#server.setTimeout(this.#limits.silenceMs)
  }

  /** Resolves with the address on which it listens. */
  async listen(port, host) {
    await new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ port, host, backlog: BACKLOG }, resolve)
    })
    return this.#server.address()
  }

  /** Accepts no more connections, and resolves when all running requests are answered. */
  async close() {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const socket of this.#unused) socket.destroy()
    // Repeatedly: the connections of running requests become idle later, and their clients would keep them open.
    const sweep = setInterval(() => this.#server.closeIdleConnections(), 100)
    const timer = setTimeout(() => this.#server.closeAllConnections(), this.#limits.drainMs)
    await closed
    clearInterval(sweep)
    clearTimeout(timer)
  }

  #handle(request, response) {
    this.#unused.delete(request.socket)
    // Connections that clients keep open would delay the close.
    if (!this.#server.listening) response.shouldKeepAlive = false
    if (this.#unclear.has(request.socket)) return
    const objection = framingError(request)
    if (objection) {
      this.#unclear.add(request.socket)
      return send(request, response, objection)
    }
    if (!isHost(combined(request.rawHeaders, 'host'))) return send(request, response, BAD_HOST)
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
    // If one side breaks, so does the other. Half an answer must not look like a whole one.
    await pipeline(found, response)
  }
}

function send(request, response, { status, headers, body }) {
  if (!isUnread(request)) return response.writeHead(status, headers).end(body)
  response.shouldKeepAlive = false
  response.writeHead(status, headers)
  response.write(body ?? '')
  // At once: if the body is not valid, Node.js destroys the connection before it would write.
  request.socket.uncork()
  // The rest of an unused body is read for a while. If the connection closes earlier, the client does not get the answer.
  request.resume()
  const timer = setTimeout(end, LINGER_MS)
  request.once('close', end)
  function end() {
    clearTimeout(timer)
    response.end()
  }
}

/** The answer to a request whose transfer encoding cannot be passed on (RFC 9112, 6.1 and 6.3). */
function framingError({ headers, httpVersion }) {
  const encoding = headers['transfer-encoding']
  if (encoding === undefined) return undefined
  const encodings = encoding.toLowerCase().split(',')
  if (httpVersion === '1.0' || encodings.at(-1).trim() !== 'chunked') return BAD_FRAMING
  // Another encoding would be lost on the way, and the body would be read wrongly.
  return encodings.length > 1 ? UNKNOWN_FRAMING : undefined
}

/** Whether it is one host (RFC 9110, 7.2). Several are joined with a comma. HTTP/1.0 needs none. */
const isHost = (text) => text === undefined || /^[\w.~%:[\]-]*$/.test(text)
const hasBody = ({ headers }) => headers['transfer-encoding'] !== undefined || Number(headers['content-length']) > 0
const isUnread = (request) => hasBody(request) && !request.complete

module.exports = { Server }
