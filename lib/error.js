'use strict'

class FlagCacheError extends Error {
  constructor(code, message, cause) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'FlagCacheError'
    this.code = code
  }

  /** With the code, as Node.js's own errors: posthog-node reports its provider's errors as strings. */
  toString() {
    return `${this.name} [${this.code}]: ${this.message}`
  }
}

/** What native code throws, as ours. Without a code it is a fault of our own. */
function translate(cause) {
  const { code, message } = cause
  // Nobody catches it: printed with its cause, it would say everything twice.
  if (code === 'ERR_FLAG_CACHE_OPTIONS') return new FlagCacheError(code, message)
  return new FlagCacheError(String(code).startsWith('ERR_FLAG_CACHE_') ? code : 'ERR_FLAG_CACHE_UNAVAILABLE', message, cause)
}

module.exports = { FlagCacheError, translate }
