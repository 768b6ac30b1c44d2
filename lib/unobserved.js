'use strict'

const { subscribe, unsubscribe } = require('node:diagnostics_channel')

const { describe, tellFailure } = require('./fetch-failure.js')
const { asksForDefinitions } = require('./request.js')

/** Where Node.js's own fetch tells how its requests end. */
const ANSWERED = 'undici:request:headers'
const FAILED = 'undici:request:error'

/** The requests whose answer is on the bill of a cache of this thread: each hears of all. */
const billed = new WeakSet()

/**
 * A request for the definitions that does not pass through `flagCache.fetch`: without hearing that it failed, the fleet would leave
 * the next one to the same process. Of a fetch that is not Node.js's own, nothing is heard.
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

  /** Watches what the next request costs. The client will not say what it received, so the rest remains untold. */
  watchEmergency() {
    // A client that never polls has no key to make a request with.
    if (this.#hasPolled && !this.#isWatched) this.#watch(true)
  }

  #watch(isEmergency) {
    this.end()
    // Only once `flagCache.fetch` has seen a request is it known to see them all.
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

  /** Nobody waits for it any more. */
  end() {
    this.#isPending = false
    if (!this.#isWatched) return
    this.#isWatched = false
    unsubscribe(ANSWERED, this.#onAnswer)
    unsubscribe(FAILED, this.#onError)
  }

  /** The client polls again: an answer whose definitions have not arrived held none. Resolves once the fleet has been told of the outcome. */
  async settle() {
    this.#hasPolled = true
    if (this.#isPending) this.#failed('the answer holds none')
    this.end()
    await this.#told
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
    else this.#failed(`PostHog answered ${statusCode}`, { status: statusCode, headers })
  }

  #unchanged(etag) {
    this.end()
    // Of another client's definitions nothing is known.
    if (etag === undefined || etag !== this.#received) return
    const { native, share } = this.#context
    this.#told = share(() => native.receivedIsCurrent())
  }

  #failed(why, response) {
    this.end()
    this.#told = tellFailure(this.#context, why, response)
  }
}

/** What a listener of a channel throws would end the process. */
function guarded(listener) {
  return (message) => {
    try {
      listener(message)
    } catch {
      // Another version of Node.js publishes something else: then nothing is heard.
    }
  }
}

/** The last of each name, from lines, or from a flat list of names and values. */
function headersOf(given) {
  const list = typeof given === 'string' ? given.split('\r\n').flatMap((line) => line.split(/: (.*)/, 2)) : given
  const headers = new Map()
  for (let index = 0; index + 1 < list.length; index += 2) headers.set(String(list[index]).toLowerCase(), String(list[index + 1]))
  return headers
}

module.exports = { UnobservedRequest }
