'use strict'

const http = require('node:http')
const https = require('node:https')

const { FlagCacheError } = require('../error.js')
const { BUSY, SILENT, UNREACHABLE } = require('./answers.js')
const { endToEnd, combined } = require('./headers.js')

/** The maximum number of concurrent requests. */
const MAX_REQUESTS = 1_000
/** The timeout without data in either direction. Load balancers close idle connections after a minute, so ours close earlier. */
const SILENCE_MS = 30_000

/** Passes requests on to PostHog. Bodies are streamed in both directions, byte for byte. */
class Upstream {
  #base
  #agent
  #request
  #report
  #counters
  #via
  #maxRequests
  #silenceMs
  /** The number of running requests. */
  requests = 0

  constructor(host, { report, counters, via }, { maxRequests = MAX_REQUESTS, silenceMs = SILENCE_MS } = {}) {
    const { request, Agent } = host.startsWith('https:') ? https : http
    this.#base = new URL(host)
    this.#request = request
    this.#agent = new Agent({ keepAlive: true, timeout: silenceMs })
    this.#report = report
    this.#counters = counters
    this.#via = via
    this.#maxRequests = maxRequests
    this.#silenceMs = silenceMs
  }

  /**
   * Sends a request. `headers`: a flat list of names and values. `body`: a stream, if there is one. `address`: the client's address, if
   * it is known. `signal`: aborted when the client is gone.
   *
   * Resolves with `{ response }`, an `http.IncomingMessage` that must be read to its end, or with `{ answer }`, the relay's own answer.
   */
  async send({ method, target, headers, body, address, signal }) {
    if (this.requests >= this.#maxRequests) return this.#failed('busy', BUSY)
    this.requests += 1
    try {
      const exchange = () => this.#exchange({ method, target, headers: this.#headers(headers, address), body, signal })
      const mayRepeat = !body && ['GET', 'HEAD'].includes(method)
      const response = await exchange().catch((error) => {
        if (error.isOfOldConnection && mayRepeat) return exchange()
        throw error
      })
      response.once('close', () => (this.requests -= 1))
      this.#counters.passedOn('answered')
      return { response }
    } catch (error) {
      this.requests -= 1
      if (signal.aborted) return this.#failed('canceled', UNREACHABLE)
      if (error.isOfClient) return this.#failed('canceled', UNREACHABLE)
      const { code, message } = error
      this.#report(
        new FlagCacheError(
          'ERR_FLAG_CACHE_API',
          `cannot pass a request on to PostHog: ${code ?? message}. Check PostHog's URL and the network.`,
          error,
        ),
      )
      return code === 'ETIMEDOUT' ? this.#failed('timeout', SILENT) : this.#failed('unreachable', UNREACHABLE)
    }
  }

  #failed(outcome, answer) {
    this.#counters.passedOn(outcome)
    return { answer }
  }

  close() {
    this.#agent.destroy()
  }

  #exchange({ method, target, headers, body, signal }) {
    return new Promise((resolve, reject) => {
      const { protocol, hostname, port, pathname } = this.#base
      const path = pathname.replace(/\/$/, '') + target
      // Not a URL, so that nothing in the target can lead to another host.
      const request = this.#request({
        protocol,
        hostname: hostname.replace(/^\[|\]$/g, ''),
        port,
        method,
        path,
        headers,
        agent: this.#agent,
        signal,
      })
      const expire = () => request.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' }))
      request.once('timeout', expire)
      // This listener stays, because an upload may break after the answer has arrived.
      request.on('error', (error) => {
        // PostHog closed an idle connection at the moment when it was used again.
        error.isOfOldConnection = request.reusedSocket && error.code === 'ECONNRESET'
        reject(error)
      })
      request.once('response', (response) => {
        if (response.statusCode >= 200 && response.statusCode < 600) return resolve(response)
        request.destroy(new Error(`unexpected status ${response.statusCode}`))
      })
      // Node.js closes a connection that is upgraded unasked, without an error.
      request.once('close', () => reject(new Error('the connection was closed without an answer')))
      if (!body) return request.end()
      // Not `pipeline()`, which would destroy the client's connection before the client has an answer.
      body.once('error', (error) => request.destroy(Object.assign(error, { isOfClient: true })))
      // The timeout of a connection does not notice a peer that stops reading.
      let timer
      body.on('pause', () => (timer = setTimeout(expire, this.#silenceMs)))
      request.on('drain', () => clearTimeout(timer))
      request.once('close', () => {
        // This pauses it, too.
        body.unpipe(request)
        clearTimeout(timer)
      })
      body.pipe(request)
    })
  }

  #headers(given, address) {
    const forwarded = [combined(given, 'x-forwarded-for'), address?.replace(/^::ffff:/, '')].filter(Boolean).join(', ')
    const via = this.#via.passedOn(combined(given, 'via'))
    const headers = ['Host', this.#base.host, ...endToEnd(given, ['host', 'via', 'x-forwarded-for']), 'Via', via]
    if (forwarded) headers.push('X-Forwarded-For', forwarded)
    return headers
  }
}

module.exports = { Upstream }
