'use strict'

const { internalsOf } = require('../cache.js')
const { definitionsIn, requestDefinitions } = require('../api.js')
const { Definitions } = require('./definitions.js')

/** How long a request waits for the first poll. Less than the shortest timeout of an SDK, which is 3 s (posthog-python). */
const FIRST_POLL_MS = 2_000

/** Polls like a posthog-node client, and keeps the newest definitions for the relay. */
class Source {
  #cache
  #internals
  #request
  #projectKey
  #intervalMs
  #isReader
  #timer
  #first
  /** One after the other, so that an older version does not replace a newer one. */
  #taking = Promise.resolve()
  #version
  #isClosed = false
  /** The newest `Definitions`, if there are any. */
  current
  /** Whether fetches fail, as of the last poll. */
  isFailing = false
  /** Whether the relay serves no definitions, because PostHog refuses them to the project. */
  isRefused = false

  /** `request`: host, key and timeout; see `requestDefinitions()`. */
  constructor(cache, { request, projectKey, intervalMs, isReader }) {
    this.#cache = cache
    this.#internals = internalsOf(cache)
    this.#request = request
    this.#projectKey = projectKey
    this.#intervalMs = intervalMs
    this.#isReader = isReader
  }

  /** Starts polling. */
  start() {
    if (this.#first) return
    this.#cache.onUpdate(() => this.#attempt(() => this.#load()))
    this.#first = this.#pollOn()
  }

  /** The polling interval. */
  get intervalMs() {
    return this.#intervalMs
  }

  /** Resolves when the first poll is over, or has taken too long to wait for. */
  async started() {
    let timer
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, FIRST_POLL_MS)
    })
    await Promise.race([this.#first, late])
    clearTimeout(timer)
  }

  async close() {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#cache.shutdown()
  }

  /** Polls now, because a process notices an invalidation only at its next poll. Failures are reported. */
  async poll() {
    await this.#attempt(() => this.#refresh())
    const { failedFetches, fleetFailedFetches } = this.#cache.status()
    this.isFailing = failedFetches + fleetFailedFetches > 0
  }

  async #pollOn() {
    await this.poll()
    if (this.#isClosed) return
    this.#timer = setTimeout(() => this.#pollOn(), this.#intervalMs)
    this.#timer.unref()
  }

  async #refresh() {
    // A rejection counts as true, as for posthog-node.
    const isGranted = !this.#isReader && (await this.#attempt(() => this.#cache.shouldFetchFlagDefinitions(), true))
    if (!isGranted && ((await this.#load()) || this.#isReader || this.current)) return
    try {
      const response = await requestDefinitions(this.#cache.fetch, this.#projectKey, this.#request)
      // Otherwise the answer is a 200 with the shared definitions.
      if (response.status === 304) return
      const definitions = await definitionsIn(response)
      // Published before they are used. Until then, the store has the text of the previous version.
      await this.#attempt(() => this.#cache.onFlagDefinitionsReceived(definitions))
      this.isRefused = false
      await this.#take()
    } catch (error) {
      await this.#load()
      throw error
    }
  }

  /** Whether the store has definitions. */
  async #load() {
    const definitions = await this.#cache.getFlagDefinitions()
    if (definitions === undefined) return false
    this.isRefused = this.#internals.isCleared()
    if (!this.isRefused) await this.#take()
    return true
  }

  #take() {
    const take = async () => {
      const held = this.#internals.held()
      if (held.version === this.#version) return
      this.current = new Definitions(await this.#internals.text(held), held.definitions)
      this.#version = held.version
    }
    this.#taking = this.#taking.then(take, take)
    return this.#taking
  }

  /** The result of `work`, or `otherwise` if it fails. Failed requests were already reported. */
  async #attempt(work, otherwise) {
    try {
      return await work()
    } catch (error) {
      if (!this.#isClosed && error.code !== 'ERR_FLAG_CACHE_API') this.#internals.report(error)
      return otherwise
    }
  }
}

module.exports = { Source }
