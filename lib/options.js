'use strict'

const { FlagCacheError } = require('./error.js')

/** Where the fleet keeps what it shares, as the environment says; an empty variable is none. */
function urlOfEnvironment() {
  const { POSTHOG_FLAG_CACHE_URL, REDIS_URL } = process.env
  return POSTHOG_FLAG_CACHE_URL || REDIS_URL || undefined
}

/** A copy of the options, for native code to validate. */
function collect(options) {
  if (options === null || typeof options !== 'object') {
    throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'options are required: an object with a projectKey')
  }
  try {
    const { url = urlOfEnvironment(), ...others } = options
    const given = { url, ...others }
    // Read here, so that what a getter throws is kept.
    if (isPlain(given.tls)) given.tls = { ...given.tls }
    return given
  } catch (cause) {
    throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'the options cannot be read', cause)
  }
}

const isPlain = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)

module.exports = { collect, urlOfEnvironment }
