'use strict'

class FlagCacheError extends Error {
  constructor(code, message, cause) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'FlagCacheError'
    this.code = code
  }

  /** With the code, as in Node.js's own errors, because posthog-node reports its provider's errors as strings. */
  toString() {
    return `${this.name} [${this.code}]: ${this.message}`
  }
}

/** Converts an error of native code. An error without a code is a bug in this package. */
function translate(cause) {
  const { code, message } = cause
  // It is usually not caught. Printed with its cause, it would say everything twice.
  if (code === 'ERR_FLAG_CACHE_OPTIONS') return new FlagCacheError(code, message)
  return new FlagCacheError(String(code).startsWith('ERR_FLAG_CACHE_') ? code : 'ERR_FLAG_CACHE_UNAVAILABLE', message, cause)
}

module.exports = { FlagCacheError, translate }
