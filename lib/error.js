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

/** Anything else that native code throws is a fault of our own. */
function translate(cause) {
  const { code, message } = cause
  return new FlagCacheError(String(code).startsWith('ERR_FLAG_CACHE_') ? code : 'ERR_FLAG_CACHE_UNAVAILABLE', message, cause)
}

module.exports = { FlagCacheError, translate }
