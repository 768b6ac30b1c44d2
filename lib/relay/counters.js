'use strict'

const { PRICES } = require('../bill.js')

/** Counts the answers of a relay, and what PostHog would have billed without it. */
class Counters {
  #responses = { 200: 0, 204: 0, 304: 0, 401: 0, 402: 0, 405: 0, 503: 0 }
  #proxied = { answered: 0, busy: 0, canceled: 0, timeout: 0, unreachable: 0 }
  #alone = 0
  #saved = 0

  /** A request for definitions was answered. `isFailing`: PostHog, as far as is known, would not have given an answer that it bills. */
  responded(status, isFailing) {
    this.#responses[status] += 1
    if (!isFailing) this.#alone += PRICES[status] ?? 0
  }

  /** A request was passed on to PostHog, or should have been. */
  passedOn(outcome) {
    this.#proxied[outcome] += 1
  }

  /** The status of the cache, with the relay's counters. A relay saves by its answers, not by its own polls. */
  addTo({ counters, ...status }) {
    this.#saved = Math.max(this.#saved, this.#alone - counters.requestsBilled)
    const relay = { responses: { ...this.#responses }, proxied: { ...this.#proxied } }
    return { ...status, counters: { ...counters, requestsSaved: this.#saved }, relay }
  }
}

module.exports = { Counters }
