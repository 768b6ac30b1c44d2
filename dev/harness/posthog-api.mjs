// A stand-in for PostHog's definitions endpoint: real HTTP on 127.0.0.1, ETags, and the bill.

import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'

import { nextEvent, now, sleep } from './clock.mjs'
import { definitions } from './definitions.mjs'

/** What PostHog bills for one answer, in flag requests; every other status is free. */
export const BILLED = { 200: 10, 304: 1 }

const DEFINITIONS_PATHS = ['/flags/definitions', '/api/feature_flag/local_evaluation']

/** Starts a stand-in on a free port. */
export async function startPostHogApi(options) {
  const api = new PostHogApi(options)
  await api.listen()
  return api
}

/**
 * Emits `request` when a definitions call arrives and `call` when it is answered (or its client has gone). Emits `other` for every other
 * request: `{ method, url, headers, body }`.
 *
 * A call: `{ n, at, endedAt, worker, sentEtag, etag, version, status, billed }`; times in `now()`'s
 * milliseconds, `worker` from the header `x-worker`, `status` null while unanswered, 0 when never.
 */
export class PostHogApi extends EventEmitter {
  calls = []
  /** Calls of `/flags`, where a client asks PostHog to evaluate: none are expected. */
  remoteEvaluations = 0
  /** How long an answer takes. */
  delayMs

  #versions = []
  #current = 0
  #flags
  #queued = []
  #forced
  #forcedOf = new Map()
  #gate = Promise.resolve()
  #server = createServer((request, response) => this.#route(request, response))

  constructor({ projectKey = 'phc_stand_in', secretKey = 'phs_stand_in', delayMs = 0, flags = 24 } = {}) {
    super()
    this.setMaxListeners(0)
    Object.assign(this, { projectKey, secretKey, delayMs })
    this.#flags = flags
    this.edit()
  }

  listen() {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(0, '127.0.0.1', () => {
        this.url = `http://127.0.0.1:${this.#server.address().port}`
        resolve()
      })
    })
  }

  /** The version that PostHog has now: `v1`, `v2`, … */
  get version() {
    return this.#versions[this.#current].name
  }

  get etag() {
    return this.#versions[this.#current].etag
  }

  /** The current definitions as JSON text, byte for byte what a 200 carries. */
  get text() {
    return this.#versions[this.#current].text
  }

  /** Publishes a new version and returns its name; `change` may alter its definitions in place. */
  edit(change = () => {}) {
    const version = `v${this.#versions.length + 1}`
    const data = definitions({ version, flags: this.#flags })
    change(data)
    const text = JSON.stringify(data)
    const etag = `"${createHash('sha256').update(text).digest('hex').slice(0, 16)}"`
    this.#current = this.#versions.push({ name: version, text, etag }) - 1
    return version
  }

  /** Returns to the `n`th version: exactly its text and its ETag. */
  rollback(n) {
    if (!this.#versions[n - 1]) throw new RangeError(`there is no version v${n}`)
    this.#current = n - 1
    return this.version
  }

  /**
   * The next definitions call gets `answer`: an HTTP status, or 'silence' (no answer at all), 'truncated'
   * (a 200 whose JSON stops halfway), 'cut' (the connection breaks halfway), 'stalled' (it stops halfway, open), 'html', 'not-flags' (JSON without
   * flags). `retryAfter` in seconds, or an HTTP date; `location`: where a redirect leads.
   */
  next(answer, headers = {}) {
    this.#queued.push({ answer, ...headers })
  }

  /** As `next`, for every call until `normal()`. */
  always(answer, headers = {}) {
    this.#forced = { answer, ...headers }
  }

  /** As `always`, for the calls of one worker. */
  answerWorker(id, answer, headers = {}) {
    this.#forcedOf.set(id, { answer, ...headers })
  }

  normal() {
    this.#forced = undefined
    this.#forcedOf.clear()
    this.#queued = []
  }

  /** Keeps every answer back until the returned function is called. A call sees the version of its arrival. */
  hold() {
    let release
    this.#gate = new Promise((resolve) => (release = resolve))
    return release
  }

  get bill() {
    return this.billSince(0)
  }

  /** The bill of the calls from the `n`th on; remember `api.calls.length` to measure one phase. */
  billSince(n) {
    return this.calls.slice(n).reduce((sum, call) => sum + call.billed, 0)
  }

  /** How many calls from the `n`th on were answered with `status`. */
  count(status, n = 0) {
    return this.calls.slice(n).filter((call) => call.status === status).length
  }

  /** The next call that is answered and for which `predicate` holds. */
  nextCall(predicate, { timeoutMs } = {}) {
    return nextEvent(this, 'call', predicate, { timeoutMs, what: 'matching definitions call' })
  }

  /** The next call that arrives and for which `predicate` holds; it may be unanswered still. */
  nextRequest(predicate, { timeoutMs } = {}) {
    return nextEvent(this, 'request', predicate, { timeoutMs, what: 'matching definitions request' })
  }

  close() {
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeAllConnections()
    })
  }

  #route(request, response) {
    const url = new URL(request.url, this.url)
    const path = url.pathname.replace(/\/$/, '')
    if (request.method === 'GET' && DEFINITIONS_PATHS.includes(path)) return void this.#definitions(request, response, url)
    if (path === '/flags' || path === '/decide') this.remoteEvaluations += 1
    const { method, headers, url: target } = request
    const chunks = []
    request.on('data', (chunk) => chunks.push(chunk))
    request.once('end', () => {
      this.emit('other', { method, url: target, headers, body: Buffer.concat(chunks) })
      json(response, 200, { status: 1, flags: {} })
    })
  }

  async #definitions(request, response, url) {
    const current = this.#versions[this.#current]
    const special = this.#queued.shift() ?? this.#forcedOf.get(request.headers['x-worker']) ?? this.#forced
    const call = {
      n: this.calls.length,
      at: now(),
      endedAt: null,
      worker: request.headers['x-worker'] ?? null,
      sentEtag: request.headers['if-none-match'] ?? null,
      etag: current.etag,
      version: current.name,
      status: null,
      billed: 0,
    }
    this.calls.push(call)
    response.once('close', () => this.#ended(call, response))
    this.emit('request', call)

    const gate = this.#gate
    if (this.delayMs > 0) await sleep(this.delayMs)
    await gate
    if (response.destroyed || special?.answer === 'silence') return
    if (!this.#authorized(request, url)) return json(response, 401, { detail: 'Invalid project or secret key.' })
    if (special) return answerSpecially(response, special, current)
    const headers = { etag: current.etag, 'cache-control': 'private, must-revalidate' }
    if (matches(call.sentEtag, current.etag)) return response.writeHead(304, headers).end()
    response.writeHead(200, { ...headers, 'content-type': 'application/json' }).end(current.text)
  }

  #authorized(request, url) {
    return url.searchParams.get('token') === this.projectKey && request.headers.authorization === `Bearer ${this.secretKey}`
  }

  #ended(call, response) {
    call.status = response.headersSent ? response.statusCode : 0
    // A broken answer is billed too: PostHog has done its part.
    call.billed = BILLED[call.status] ?? 0
    call.endedAt = now()
    this.emit('call', call)
  }
}

function answerSpecially(response, { answer, retryAfter, location }, current) {
  const headers = { etag: current.etag, 'content-type': 'application/json' }
  const half = current.text.slice(0, current.text.length / 2)
  switch (answer) {
    case 'truncated':
      return response.writeHead(200, headers).end(half)
    case 'cut':
      response.writeHead(200, { ...headers, 'content-length': Buffer.byteLength(current.text) })
      return response.write(half, () => response.destroy())
    case 'stalled':
      return response.writeHead(200, headers).write(half)
    case 'html':
      return response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Bad gateway</title>')
    case 'not-flags':
      return json(response, 200, { detail: 'not what you asked for' })
    default:
      if (retryAfter !== undefined) response.setHeader('retry-after', String(retryAfter))
      if (location !== undefined) response.setHeader('location', location)
      json(response, answer, { type: 'stand_in', code: `status_${answer}`, detail: 'as programmed' })
  }
}

function json(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function matches(sent, etag) {
  const opaque = (tag) => tag.trim().replace(/^W\//, '')
  return sent !== null && (sent.trim() === '*' || sent.split(',').some((tag) => opaque(tag) === opaque(etag)))
}
