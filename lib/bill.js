'use strict'

/** What PostHog bills for an answer, in flag requests: new definitions, unchanged ones. Every other answer is free. */
const PRICES = { 200: 10, 304: 1 }

/** The part of an interval that a timer may be early. */
const SLACK = 0.1

/** What PostHog bills for the requests of one client, and what the cache has saved. */
class Bill {
  /** Flag requests that PostHog has billed. */
  billed = 0
  /** The most by which posthog-node alone would have been billed more: it never decreases, although a single request may cost more. */
  saved = 0
  #intervalMs
  #isFailing
  /** What posthog-node alone would have been billed, and the version that it would have. */
  #alone = 0
  #version
  /** When the last poll came that counts, and whether its outcome is not known yet. */
  #polledAt
  #isOpen = false

  /** `isFailing()` tells whether PostHog, as far as is known, gives no answer that it bills. */
  constructor(intervalMs, isFailing) {
    this.#intervalMs = intervalMs
    this.#isFailing = isFailing
  }

  answered(status) {
    this.billed += PRICES[status] ?? 0
  }

  /** The client polls; until now it has definitions of this version, if any. A poll that comes early is a reload, and does not count. */
  polls(version) {
    // If the last one was told to fetch, its request has ended.
    this.settles(version)
    const now = performance.now()
    if (now - this.#polledAt < this.#intervalMs * (1 - SLACK)) return
    this.#polledAt = now
    this.#isOpen = true
  }

  /** The last poll has led to this version. posthog-node alone would have made a request, with this outcome. */
  settles(version) {
    if (!this.#isOpen) return
    this.#isOpen = false
    if (version === undefined || this.#isFailing()) return
    this.#alone += PRICES[version === this.#version ? 304 : 200]
    this.#version = version
    this.saved = Math.max(this.saved, this.#alone - this.billed)
  }
}

module.exports = { Bill, PRICES }
