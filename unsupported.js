'use strict'

const { FlagCacheError } = require('./lib/error.js')

const unsupported = () =>
  new FlagCacheError(
    'ERR_FLAG_CACHE_RUNTIME',
    'posthog-flag-cache cannot run here: it is a native addon for Node.js, Bun and Deno, but this is an edge runtime, a worker without ' +
      "Node.js, or a browser. Create the cache on the server only (Next.js: if process.env.NEXT_RUNTIME === 'nodejs', that is, in routes without " +
      "runtime = 'edge'). Here, use posthog-node without flagDefinitionCacheProvider. In Jest, set testEnvironment: 'node'.",
  )

/**
 * The module that bundlers for edge runtimes, Cloudflare Workers and browsers use. The constructor throws, and not the module, so that code
 * that is shared with a server can import it there.
 */
class FlagDefinitionCache {
  constructor() {
    throw unsupported()
  }
}

/** The same for `posthog-flag-cache/relay`. */
function createRelay() {
  throw unsupported()
}

module.exports = { FlagDefinitionCache, FlagCacheError, createRelay }
