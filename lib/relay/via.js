'use strict'

const { randomBytes } = require('node:crypto')

const PREFIX = 'posthog-flag-cache-'
const NAME = new RegExp(`^${PREFIX}[0-9a-f]{8}$`)

/** The maximum number of remembered relays, because the header must stay short. */
const MAX_CLIENTS = 10

/**
 * Names the relay in the header `Via` of its requests (RFC 9110, 7.6.3). A request that contains the relay's own name has come back to it:
 * PostHog's URL leads to the relay itself, or to another relay that leads here.
 */
class Via {
  /** Random, so that it tells nothing about the host. */
  #name = PREFIX + randomBytes(4).toString('hex')
  /** The relays that requested definitions here. */
  #clients = new Set()

  /** Whether a request with this header has come back. */
  isLoop(header) {
    return namesIn(header).includes(this.#name)
  }

  /** Remembers the relays in the header of a request for definitions. */
  remember(header) {
    for (const name of namesIn(header)) {
      if (!NAME.test(name)) continue
      this.#clients.delete(name)
      this.#clients.add(name)
      if (this.#clients.size > MAX_CLIENTS) this.#clients.delete(this.#clients.values().next().value)
    }
  }

  /** The header of a request that is passed on. `header`: the header that it arrived with. */
  passedOn(header) {
    return [header, `1.1 ${this.#name}`].filter(Boolean).join(', ')
  }

  /**
   * The header of the relay's own request for definitions. It is made for other relays too. Without their names, two relays that lead to
   * each other would wait for each other, and neither would know why.
   */
  own() {
    return this.passedOn([...this.#clients].map((name) => `1.1 ${name}`).join(', '))
  }
}

/** The words of the header. A comment may contain any, but nobody else knows the random name. */
const namesIn = (header) => header?.split(/[\s,]+/) ?? []

module.exports = { Via }
