// Tells how long each call of posthog-node took, and how it ended.

import { now } from './clock.mjs'

const METHODS = ['shouldFetchFlagDefinitions', 'getFlagDefinitions', 'onFlagDefinitionsReceived']

/** `report({ method, at, tookMs, value, code })` after each call: `value` of those that answer yes or no, `code` of a failure. */
export function watch(provider, report) {
  for (const method of METHODS) {
    const call = provider[method]
    provider[method] = async (...args) => {
      const at = now()
      try {
        const value = await call.apply(provider, args)
        report({ method, at, tookMs: now() - at, ...(typeof value === 'boolean' && { value }) })
        return value
      } catch (error) {
        report({ method, at, tookMs: now() - at, code: error.code ?? String(error) })
        throw error
      }
    }
  }
  return provider
}
