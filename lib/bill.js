'use strict'

/** The flag requests that PostHog bills for an answer with new definitions (200) or unchanged ones (304). All others are free. */
const PRICES = { 200: 10, 304: 1 }

/** How much of an interval a timer may be early. */
const SLACK = 0.1

/** What PostHog bills for the requests of one client, and what the cache has saved. */
class Bill {
  /** Flag requests that PostHog has billed. */
  billed = 0
  /** The highest difference to the bill of posthog-node alone so far. So it never decreases, even if a single request costs more. */
  saved = 0
  #intervalMs
  #isFailing
  /** What posthog-node alone would have been billed, and the version that it would have. */
  #alone = 0
  #version
  /** When the last poll that counts began, and whether its outcome is still unknown. */
  #polledAt
  #isOpen = false

  /** `isFailing()`: whether PostHog, as far as is known, currently gives no answer that it bills. */
  constructor(intervalMs, isFailing) {
    this.#intervalMs = intervalMs
    this.#isFailing = isFailing
  }

  answered(status) {
    this.billed += PRICES[status] ?? 0
  }

  /** The client polls. Until now it has this version, if any. An early poll is a reload, and does not count. */
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
