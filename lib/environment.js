'use strict'

/** Where the fleet keeps what it shares, as the environment says; an empty variable is none. */
function urlOfEnvironment() {
  const { POSTHOG_FLAG_CACHE_URL, REDIS_URL } = process.env
  return POSTHOG_FLAG_CACHE_URL || REDIS_URL || undefined
}

module.exports = { urlOfEnvironment }
