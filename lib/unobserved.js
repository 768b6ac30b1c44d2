'use strict'

const { subscribe, unsubscribe } = require('node:diagnostics_channel')

const { describe, tellFailure } = require('./failure.js')
const { asksForDefinitions } = require('./request.js')

/** Where Node.js's own fetch tells how its requests end. */
const ANSWERED = 'undici:request:headers'
const FAILED = 'undici:request:error'

/**
 * A request for the definitions that does not pass through `flagCache.fetch`: without hearing that it failed, the fleet would leave
 * the next one to the same process. Of a fetch that is not Node.js's own, nothing is heard.
 */
class UnobservedRequest {
  #context
  #isWatched = false
  /** Whether it was answered with a 200 whose definitions have not arrived yet. */
  #isPending = false
  #told = Promise.resolve()
  #onAnswer = guarded(({ request, response }) => this.#concerns(request) && this.#answered(response))
  #onError = guarded(({ request, error }) => this.#concerns(request) && this.#failed(describe(error)))

  /** `context` is that of `shareEtag()`. */
  constructor(context) {
    this.#context = context
  }

  /** Watches the request that follows. */
  watch() {
    this.end()
    // Only once `flagCache.fetch` has seen a request is it known to see them all.
    if (this.#context.client.origin !== undefined) return
    this.#isWatched = true
    subscribe(ANSWERED, this.#onAnswer)
    subscribe(FAILED, this.#onError)
  }

  /** Its definitions have arrived, or nobody waits for them any more. */
  end() {
    this.#isPending = false
    if (!this.#isWatched) return
    this.#isWatched = false
    unsubscribe(ANSWERED, this.#onAnswer)
    unsubscribe(FAILED, this.#onError)
  }

  /** The client polls again: an answer whose definitions have not arrived held none. Resolves once a failure has been told. */
  async settle() {
    if (this.#isPending) this.#failed("PostHog's answer holds none")
    this.end()
    await this.#told
  }

  #concerns({ method, origin, path }) {
    if (this.#context.client.origin !== undefined) this.end()
    if (!this.#isWatched || method !== 'GET' || !URL.canParse(path, origin)) return false
    return asksForDefinitions(new URL(path, origin), this.#context.projectKey)
  }

  #answered({ statusCode, headers }) {
    // The fetch follows a redirect.
    if (statusCode >= 300 && statusCode < 400 && statusCode !== 304) return
    if (statusCode === 200) this.#isPending = true
    else if (statusCode === 304) this.end()
    else this.#failed(`PostHog answered ${statusCode}`, { status: statusCode, headers: headersOf(headers) })
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

/** The last of each name, from a flat list of names and values in bytes. */
function headersOf(list) {
  const headers = new Map()
  for (let index = 0; index + 1 < list.length; index += 2) headers.set(String(list[index]).toLowerCase(), String(list[index + 1]))
  return headers
}

module.exports = { UnobservedRequest }
