// Clients of posthog-node whose requests go through `flagCache.fetch`, in the process of the test.

import { PostHog } from 'posthog-node'

import { nextEvent, sleep } from '../../dev/harness/clock.mjs'
import { FlagDefinitionCache, versionOf } from './client.mjs'

/**
 * A client of posthog-node that asks `api` through `flagCache.fetch`. Without a `pollingIntervalMs` it loads once at its start,
 * and then only when it is told to.
 *
 * `requests`: what posthog-node asked for, `{ url, options, status, response }`; `sent`: what went out, `{ url, options }`.
 * `errors`: what posthog-node reported; `troubles`: what `onError` listeners heard. `inner` makes the requests.
 */
export function startSharing(t, { api, pollingIntervalMs = 3_600_000, inner = globalThis.fetch, posthogOptions, push, ...options }) {
  const cache = new FlagDefinitionCache({ projectKey: api.projectKey, ...options })
  const [requests, sent, errors, troubles] = [[], [], [], []]
  const fetch = cache.withFetch((url, options) => {
    sent.push({ url, options })
    return inner(url, options)
  })
  cache.onError((error) => troubles.push(error))
  const client = new PostHog(api.projectKey, {
    host: api.url,
    secretKey: api.secretKey,
    featureFlagsPollingInterval: pollingIntervalMs,
    flagDefinitionCacheProvider: cache,
    fetch: async (url, options) => {
      const request = { url, options }
      requests.push(request)
      request.response = await fetch(url, options)
      request.status = request.response.status
      return request.response
    },
    ...posthogOptions,
  })
  client.on('error', (error) => errors.push(error.message))
  if (push) cache.onUpdate(() => client.reloadFeatureFlags())
  t.after(() => client.shutdown())
  return {
    cache,
    client,
    requests,
    sent,
    errors,
    troubles,
    ready: () => client.waitForLocalEvaluationReady(20_000),
    load: () => client.reloadFeatureFlags(),
    /** Loads once an interval, until it was this client's turn to fetch. */
    async fetch() {
      const { grants } = cache.status().counters
      while (cache.status().counters.grants === grants) {
        await sleep(options.refreshIntervalMs)
        await client.reloadFeatureFlags()
      }
    },
    /** The version that it evaluates, asked without causing a load; undefined where it has none. */
    async evaluate() {
      return client.isLocalEvaluationReady() ? versionOf(client) : undefined
    },
    /** Resolves once it evaluates that version. */
    async until(version, timeoutMs = 20_000) {
      await new Promise((resolve, reject) => {
        const end = (settle, value) => {
          stop()
          clearTimeout(timer)
          settle(value)
        }
        const look = async () => {
          if ((await this.evaluate()) === version) end(resolve)
        }
        const timer = setTimeout(async () => end(reject, new Error(`still on ${await this.evaluate()} after ${timeoutMs} ms`)), timeoutMs)
        const stop = client.on('localEvaluationFlagsLoaded', look)
        look()
      })
    },
  }
}

/** The next version that `cache` tells its listeners of. */
export function nextUpdate(cache, timeoutMs = 20_000) {
  return new Promise((resolve, reject) => {
    const stop = cache.onUpdate((version) => end(resolve, version))
    const timer = setTimeout(() => end(reject, new Error(`no update within ${timeoutMs} ms`)), timeoutMs)
    const end = (settle, value) => {
      stop()
      clearTimeout(timer)
      settle(value)
    }
  })
}

/** PostHog's answer, completed to what every version of posthog-node reads. */
export function completed(text) {
  const data = JSON.parse(text)
  return {
    ...data,
    groupTypeMapping: data.group_type_mapping,
    minimalFlagCalledEvents: data.minimal_flag_called_events,
    propertyMatchingVersion: data.property_matching_version,
  }
}

export { nextEvent }
