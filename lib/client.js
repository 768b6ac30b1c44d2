'use strict'

/** What one posthog-node client has in memory, and what it is doing, as far as its provider can tell. */
class Client {
  /** Whether it fetches although it was told not to, because it has no definitions at all. */
  isEmergency = false
  /** The API's host, by the first request for the definitions. */
  origin = undefined
  /** The definitions that were made or received last: while their version stays the same, so does the object. */
  held = {}
  /** For the array `flags` of an answer: what publishes it. */
  answers = new WeakMap()
  #version
  #etag

  /** It has taken these definitions; either name of them may be unknown. */
  take({ version, etag } = {}) {
    this.#version = version
    this.#etag = etag
  }

  /** Whether it has the definitions of this version, or of this ETag. */
  has({ version, etag }) {
    return (version !== undefined && this.#version === version) || (etag !== undefined && this.#etag === etag)
  }
}

module.exports = { Client }
