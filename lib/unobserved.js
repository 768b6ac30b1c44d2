'use strict'

const { subscribe, unsubscribe } = require('node:diagnostics_channel')

const { describe, tellFailure } = require('./fetch-failure.js')
const { inWords } = require('./refusal.js')
const { asksForDefinitions } = require('./request.js')

/** The diagnostics channels on which Node.js's own fetch reports how its requests end. */
const ANSWERED = 'undici:request:headers'
const FAILED = 'undici:request:error'

/** The requests whose answer a cache of this thread has billed. Each cache gets the events of all requests. */
const billed = new WeakSet()

/**
 * A request for the definitions that does not pass through `flagCache.fetch`. If its failure went unnoticed, the same process would stay the
 * leader. Requests of a fetch other than Node.js's own are not seen.
 */
class UnobservedRequest {
  #context
  #isWatched = false
  /** Whether it is an emergency: the client was told not to make it. */
  #isEmergency = false
  #hasPolled = false
  /** Whether it was answered, but the definitions have not arrived yet. */
  #isPending = false
  /** The ETag of the last answer, and that of the definitions that were received last. */
  #etag
  #received
  #told = Promise.resolve()
  #onAnswer = guarded(({ request, response }) => this.#concerns(request) && this.#answered(request, response))
  #onError = guarded(({ request, error }) => this.#concerns(request) && (this.#isEmergency ? this.end() : this.#failed(describe(error))))

  /** `context` is that of `shareEtag()`. */
  constructor(context) {
    this.#context = context
  }

  /** Watches the request that follows. */
  watch() {
    this.#watch(false)
  }

  /** Watches the cost of the next request. The client does not report what it received, so only the cost is known. */
  watchEmergency() {
    // A client that never polls has no key for a request.
    if (this.#hasPolled && !this.#isWatched) this.#watch(true)
  }

  #watch(isEmergency) {
    this.end()
    // After `flagCache.fetch` has seen one request, it sees them all.
    if (this.#context.client.origin !== undefined) return
    this.#isWatched = true
    this.#isEmergency = isEmergency
    subscribe(ANSWERED, this.#onAnswer)
    subscribe(FAILED, this.#onError)
  }

  /** Its definitions have arrived. */
  received() {
    if (!this.#isWatched) return
    this.#received = this.#etag
    this.end()
  }

  /** Its outcome is no longer needed. */
  end() {
    this.#isPending = false
    if (!this.#isWatched) return
    this.#isWatched = false
    unsubscribe(ANSWERED, this.#onAnswer)
    unsubscribe(FAILED, this.#onError)
  }

  /** The client polls again. If an answer's definitions have not arrived by now, it had none. Resolves when the outcome is shared. */
  async settle() {
    this.#hasPolled = true
    if (this.#isPending)
      this.#failed("PostHog's answer has no definitions. Check PostHog's URL: a proxy or another server may have answered")
    this.end()
    await this.#told
  }

  /** Resolves when the outcome of the last request is shared, as far as it is known. */
  get told() {
    return this.#told
  }

  #concerns({ method, origin, path }) {
    if (this.#context.client.origin !== undefined) this.end()
    if (!this.#isWatched || method !== 'GET' || !URL.canParse(path, origin)) return false
    return asksForDefinitions(new URL(path, origin), this.#context.projectKey)
  }

  #answered(request, { statusCode, headers: list }) {
    if (!billed.has(request)) this.#context.bill.answered(statusCode)
    billed.add(request)
    // A redirect is followed, wherever it leads.
    const isRedirect = statusCode >= 300 && statusCode < 400 && statusCode !== 304
    if (this.#isEmergency) {
      if (!isRedirect) this.end()
      return
    }
    const headers = headersOf(list)
    this.#etag = headers.get('etag')
    if (statusCode === 200 || isRedirect) this.#isPending = true
    else if (statusCode === 304) this.#unchanged(headersOf(request.headers).get('if-none-match'))
    else this.#failed(inWords(statusCode), { status: statusCode, headers })
  }

  #unchanged(etag) {
    this.end()
    // Nothing is known about another client's definitions.
    if (etag === undefined || etag !== this.#received) return
    const { native, share } = this.#context
    this.#told = share(() => native.receivedIsCurrent())
  }

  #failed(why, response) {
    this.end()
    this.#told = tellFailure(this.#context, why, response)
  }
}

/** An error from a listener of a channel would end the process. */
function guarded(listener) {
  return (message) => {
    try {
      listener(message)
    } catch {
      // Another version of Node.js may publish something else. It is ignored.
    }
  }
}

/** The last value of each header, from lines or from a flat list of names and values. */
function headersOf(given) {
  const list = typeof given === 'string' ? given.split('\r\n').flatMap((line) => line.split(/: (.*)/, 2)) : given
  const headers = new Map()
  for (let index = 0; index + 1 < list.length; index += 2) headers.set(String(list[index]).toLowerCase(), String(list[index + 1]))
  return headers
}

module.exports = { UnobservedRequest }
