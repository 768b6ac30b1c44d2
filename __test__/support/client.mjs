// A cache, and a real posthog-node client over it, in the process of the test.

import { PostHog } from 'posthog-node'

import { VERSION_FLAG } from '../../dev/harness/definitions.mjs'
import { startPostHogApi } from '../../dev/harness/posthog-api.mjs'
import { loadOurs } from '../../dev/harness/providers.mjs'
import { newProjectKey } from './stores.mjs'

export const { FlagDefinitionCache, FlagCacheError } = loadOurs()

/** A stand-in for PostHog, with a project of its own, until the test ends. */
export async function standIn(t, options) {
  const api = await startPostHogApi({ projectKey: newProjectKey(), ...options })
  t.after(() => api.close())
  return api
}

let others = 0

/** Options by which a cache has nothing in common with others of this process, as one elsewhere: a limit of its own. */
export const elsewhere = () => ({ commandTimeoutMs: 1_001 + ++others })

/** A cache that is shut down when the test ends. */
export function openCache(t, options) {
  const cache = new FlagDefinitionCache(options)
  t.after(() => cache.shutdown())
  return cache
}

/**
 * A client of posthog-node that asks `api`, with a cache of the given `options`. Without a `pollingIntervalMs` it loads once at
 * its start, and then only when it is told to `load()`.
 *
 * `errors`: the messages of what posthog-node reported; `troubles`: what `onError` listeners heard. `evaluate()`: the version of the definitions it holds, or undefined.
 */
export function startClient(t, { api, pollingIntervalMs = 3_600_000, posthogOptions, ...options }) {
  const cache = new FlagDefinitionCache({ projectKey: api.projectKey, ...options })
  const client = new PostHog(api.projectKey, {
    host: api.url,
    secretKey: api.secretKey,
    featureFlagsPollingInterval: pollingIntervalMs,
    flagDefinitionCacheProvider: cache,
    ...posthogOptions,
  })
  const [errors, troubles] = [[], []]
  cache.onError((error) => troubles.push(error))
  client.on('error', (error) => errors.push(error.message))
  t.after(() => client.shutdown())
  return {
    cache,
    client,
    errors,
    troubles,
    ready: () => client.waitForLocalEvaluationReady(10_000),
    load: () => client.reloadFeatureFlags(),
    evaluate: () => versionOf(client),
  }
}

/** The version of the definitions that a client of posthog-node holds, or undefined. */
export async function versionOf(client) {
  const options = { onlyEvaluateLocally: true, flagKeys: [VERSION_FLAG] }
  return (await client.getAllFlags('somebody', options))[VERSION_FLAG]
}

/** Gets the turn to fetch, and publishes `data`. */
export async function publish(cache, data) {
  if (!(await cache.shouldFetchFlagDefinitions())) throw new Error('it is not the turn of this cache')
  await cache.onFlagDefinitionsReceived(data)
}

/** The rejection of `promise`, which must be an error of ours. */
export async function failure(promise) {
  const error = await promise.then(
    () => undefined,
    (error) => error,
  )
  if (error instanceof FlagCacheError) return error
  throw new Error('it did not fail with a FlagCacheError', { cause: error })
}
