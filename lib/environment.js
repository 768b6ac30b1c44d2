'use strict'

/** The store's URL from the environment. An empty variable counts as not set. */
function urlOfEnvironment() {
  const { POSTHOG_FLAG_CACHE_URL, REDIS_URL } = process.env
  return POSTHOG_FLAG_CACHE_URL || REDIS_URL || undefined
}

module.exports = { urlOfEnvironment }
