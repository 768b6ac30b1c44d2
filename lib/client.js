'use strict'

/** The maximum delay between a poll that is told not to fetch, and posthog-node's read of the definitions. */
const SAME_POLL_MS = 100

/** What the cache knows about one posthog-node client: its definitions, and its current request. */
class Client {
  /** Whether its next request is an emergency fetch: it was told not to fetch, but has no definitions. */
  isEmergency = false
  /** Whether the reason is that the store has no definitions yet. */
  isCacheEmpty = false
  /** Whether it was shut down. */
  isClosed = false
  /** Whether its last definitions could not be shared. Then its own ETag counts. */
  isUnshared = false
  /** Whether it polls less often, because PostHog refused it. Only an answer to one of its own requests ends this. */
  isBackedOff = false
  /** Whether its next request is made only to end this, and is answered with the shared definitions. */
  isAnsweredHere = false
  /** The API's host, from the first request for the definitions. */
  origin = undefined
  /** The definitions that were built or received last. The object stays the same while the version does. */
  held = {}
  /** For the array `flags` of a response: the function that publishes it. */
  answers = new WeakMap()
  /** The version that it took last. */
  version = undefined
  /** The result of the last poll, for a client that had the definitions that were `held` then. */
  polled = undefined

  /** Returns this result, only once and only at once, because the store may have newer definitions later. */
  takePolled() {
    const { found, held, at } = this.polled ?? {}
    this.polled = undefined
    return held === this.held && performance.now() - at < SAME_POLL_MS ? found : undefined
  }
}

module.exports = { Client }
