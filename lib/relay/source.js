'use strict'

const { internalsOf } = require('../cache.js')
const { definitionsIn, requestDefinitions } = require('../api.js')
const { FlagCacheError } = require('../error.js')
const { Definitions } = require('./definitions.js')

/** The delay before the next poll while there are no definitions. It doubles with each further poll, up to the interval. */
const FIRST_RETRY_MS = 1_000

/** The codes of errors that `flagCache.fetch` has already reported: a request failed, or its answer has no definitions. */
const REPORTED_BY_FETCH = ['ERR_FLAG_CACHE_API', 'ERR_FLAG_CACHE_DATA']

/** Polls like a posthog-node client, and keeps the newest definitions for the relay. */
class Source {
  #cache
  #internals
  #request
  #projectKey
  #intervalMs
  #isReader
  #via
  #timer
  /** The poll that is under way. */
  #polling
  /** How many polls in a row left the relay without definitions. */
  #misses = 0
  /** One after the other, so that an older version does not replace a newer one. */
  #taking = Promise.resolve()
  /** The version of `current`, if that is shared. */
  #version
  /** When `current` was fetched, if the store did not take it. */
  #unsharedAt
  #isStarted = false
  #isClosed = false
  /** The newest `Definitions`, if there are any. */
  current
  /** Whether fetches fail, as of the last poll. */
  isFailing = false
  /** Whether the relay serves no definitions, because PostHog refuses them to the project. */
  isRefused = false

  /** `request`: host, key and timeout; see `requestDefinitions()`. */
  constructor(cache, { request, projectKey, intervalMs, isReader, via }) {
    this.#cache = cache
    this.#internals = internalsOf(cache)
    this.#request = request
    this.#projectKey = projectKey
    this.#intervalMs = intervalMs
    this.#isReader = isReader
    this.#via = via
  }

  /** Starts polling. */
  start() {
    if (this.#isStarted || this.#isClosed) return
    this.#isStarted = true
    this.#cache.onUpdate(() => this.#attempt(() => this.#load()))
    this.#pollOn()
  }

  /** How long ago PostHog confirmed `current`; `null` if that is not known. */
  get ageMs() {
    if (!this.current) return null
    if (this.#unsharedAt !== undefined) return Math.round(performance.now() - this.#unsharedAt)
    return this.#cache.status().definitions?.ageMs ?? null
  }

  /** Resolves when the poll that is under way is over. It ends within the timeouts of the store and of the request. */
  async polled() {
    await this.#polling
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
    this.#polling = this.poll()
    await this.#polling
    this.#polling = undefined
    if (this.#isClosed) return
    this.#misses = this.current || this.isRefused ? 0 : this.#misses + 1
    const delayMs = this.#misses > 0 ? Math.min(FIRST_RETRY_MS * 2 ** (this.#misses - 1), this.#intervalMs) : this.#intervalMs
    this.#timer = setTimeout(() => this.#pollOn(), delayMs)
    this.#timer.unref()
  }

  async #refresh() {
    // A rejection counts as true, as for posthog-node.
    const isGranted = !this.#isReader && (await this.#attempt(() => this.#cache.shouldFetchFlagDefinitions(), true))
    if (this.#isClosed) return
    if (!isGranted && ((await this.#load()) || this.#isReader || this.current)) return
    try {
      const response = await requestDefinitions(this.#cache.fetch, this.#projectKey, { ...this.#request, via: this.#via.own() })
      // Otherwise the answer is a 200 with the shared definitions.
      if (response.status === 304) {
        if (this.current) return
        const error = new FlagCacheError(
          'ERR_FLAG_CACHE_API',
          'PostHog answered 304 (not modified) to a request for all definitions. Check whether a proxy caches the answers.',
        )
        // `flagCache.fetch` takes it for an answer, and reports nothing.
        this.#internals.report(error)
        throw error
      }
      const definitions = await definitionsIn(response)
      // Published before they are used. Until then, the store has the text of the previous version.
      const isShared = await this.#publish(definitions)
      this.isRefused = false
      await (isShared ? this.#take() : this.#keep(definitions))
    } catch (error) {
      // The store's definitions are older than those that it did not take.
      if (this.#unsharedAt === undefined) await this.#load()
      throw error
    }
  }

  /** Whether the store took the definitions. Throws if they are not definitions, so that the relay does not serve them. */
  async #publish(definitions) {
    try {
      await this.#cache.onFlagDefinitionsReceived(definitions)
      return true
    } catch (error) {
      if (error.code === 'ERR_FLAG_CACHE_DATA') throw error
      this.#report(error)
      return false
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
      this.#unsharedAt = undefined
    }
    return this.#inTurn(take)
  }

  /** Definitions that were fetched here, and that the store did not take: they are too large, for example. */
  #keep(definitions) {
    return this.#inTurn(() => {
      this.current = new Definitions(Buffer.from(JSON.stringify(definitions)), definitions)
      this.#version = undefined
      this.#unsharedAt = performance.now()
    })
  }

  #inTurn(change) {
    this.#taking = this.#taking.then(change, change)
    return this.#taking
  }

  /** The result of `work`, or `otherwise` if it fails. */
  async #attempt(work, otherwise) {
    try {
      return await work()
    } catch (error) {
      this.#report(error)
      return otherwise
    }
  }

  #report(error) {
    if (!this.#isClosed && !REPORTED_BY_FETCH.includes(error.code)) this.#internals.report(error)
  }
}

module.exports = { Source }
