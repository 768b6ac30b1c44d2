'use strict'

/** What one posthog-node client has in memory, and what it is doing, as far as its provider can tell. */
class Client {
  /** The version that it evaluates; undefined where that is not known. */
  version = undefined
  /** Whether it fetches although it was told not to, because it has no definitions at all. */
  isEmergency = false
  /** The API's host, by the first request for the definitions. */
  origin = undefined
  /** For the array `flags` of a parsed answer: the answer. */
  answers = new WeakMap()
}

module.exports = { Client }
