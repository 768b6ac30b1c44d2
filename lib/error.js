'use strict'

class FlagCacheError extends Error {
  constructor(code, message, cause) {
    super(message, { cause })
    this.name = 'FlagCacheError'
    this.code = code
  }

  /** With the code, as Node.js's own errors: posthog-node reports its provider's errors as strings. */
  toString() {
    return `${this.name} [${this.code}]: ${this.message}`
  }
}

/** Native errors carry their code in the message: a rejected native promise has no other place. */
function translate(cause) {
  const [, code, message] = /^(ERR_FLAG_CACHE_[A-Z_]+): (.*)$/s.exec(cause.message) ?? []
  return new FlagCacheError(code ?? 'ERR_FLAG_CACHE_UNAVAILABLE', message ?? cause.message, cause)
}

module.exports = { FlagCacheError, translate }
