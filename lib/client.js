'use strict'

/** posthog-node reads the definitions at once when a poll tells it not to fetch. */
const SAME_POLL_MS = 100

/** What one posthog-node client has in memory, and what it is doing, as far as its provider can tell. */
class Client {
  /** Whether its next request is an emergency: it was told not to fetch, but has no definitions at all. */
  isEmergency = false
  /** Whether that is so because the fleet has none yet. */
  isCacheEmpty = false
  /** Whether it was shut down. */
  isClosed = false
  /** Whether the definitions that it was given last could not be shared: then its own ETag counts. */
  isUnshared = false
  /** Whether it polls less often because PostHog refused it: only an answer to a request of its own ends that. */
  isBackedOff = false
  /** Whether its next request is only made for that, and answered with what the fleet has. */
  isAnsweredHere = false
  /** The API's host, by the first request for the definitions. */
  origin = undefined
  /** The definitions that were made or received last: while their version stays the same, so does the object. */
  held = {}
  /** For the array `flags` of a response: what publishes it. */
  answers = new WeakMap()
  /** The version that it has taken last. */
  version = undefined
  /** What the last poll found, for a client that had what was `held` then. */
  polled = undefined

  /** The same, once, and only at once: later the store may have something newer. */
  takePolled() {
    const { found, held, at } = this.polled ?? {}
    this.polled = undefined
    return held === this.held && performance.now() - at < SAME_POLL_MS ? found : undefined
  }
}

module.exports = { Client }
