'use strict'

const { NativeProvider } = require('./native.js')

class FlagCacheError extends Error {
  constructor(code, message, cause) {
    super(message, { cause })
    this.name = 'FlagCacheError'
    this.code = code
  }
}

/** Native errors carry their code in the message: a rejected native promise has no other place. */
function translate(cause) {
  const [, code, message] = /^(ERR_FLAG_CACHE_[A-Z]+): (.*)$/s.exec(cause.message) ?? []
  return new FlagCacheError(code ?? 'ERR_FLAG_CACHE_UNAVAILABLE', message ?? cause.message, cause)
}

function create(options) {
  if (options === null || typeof options !== 'object') {
    throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'options are required: an object with a projectKey')
  }
  const { POSTHOG_FLAG_CACHE_URL, REDIS_URL } = process.env
  const { url = POSTHOG_FLAG_CACHE_URL || REDIS_URL || undefined, ...others } = options
  try {
    return new NativeProvider({ url, ...others })
  } catch (cause) {
    throw translate(cause)
  }
}

class FlagDefinitionCache {
  #native
  /** What was handed out or received last, and its version: while it stays the same, so does the object. */
  #definitions
  #version

  constructor(options) {
    this.#native = create(options)
  }

  async getFlagDefinitions() {
    const found = await this.#native.get(this.#version).catch(rethrow)
    if (!found) return undefined
    if (typeof found.text === 'string') {
      this.#definitions = JSON.parse(found.text)
      this.#version = found.version
    }
    return this.#definitions
  }

  async shouldFetchFlagDefinitions() {
    return this.#native.shouldFetch().catch(rethrow)
  }

  async onFlagDefinitionsReceived(data) {
    let text
    try {
      text = String(JSON.stringify(data))
    } catch (cause) {
      throw new FlagCacheError('ERR_FLAG_CACHE_DATA', 'the flag definitions cannot be written as JSON', cause)
    }
    this.#version = await this.#native.received(text).catch(rethrow)
    this.#definitions = data
  }

  // `async`, here and above: posthog-node waits for what is `instanceof Promise`, and in a vm context
  // (Jest) a native promise is not.
  async shutdown() {
    await this.#native.shutdown().catch(rethrow)
  }

  async [Symbol.asyncDispose]() {
    await this.shutdown()
  }
}

function rethrow(cause) {
  throw translate(cause)
}

module.exports = { FlagDefinitionCache, FlagCacheError }
