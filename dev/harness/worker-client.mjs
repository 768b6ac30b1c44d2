// One posthog-node client of a worker process, and its provider.

import { VERSION_FLAG } from './definitions.mjs'
import { watch } from './watched-provider.mjs'

/**
 * `create` makes the provider; `report(kind, details)` tells the fleet. `config` is the worker's.
 *
 * `{ client, provider, updates, evaluate(), close() }`; `evaluate()` gives the version of the definitions, or null, and causes no
 * call: unready, an evaluation would load (as it does with `evaluateUnready`, and in applications); not local, it would ask PostHog.
 */
export function startClient(PostHog, create, config, report) {
  const { provider, close } = create(config)
  if (config.watch) watch(provider, (call) => report('provider-call', { call }))
  const client = new PostHog(config.projectKey, {
    host: config.host,
    // Both names, for the versions that know only the older one.
    ...(config.secretKey && { secretKey: config.secretKey, personalApiKey: config.secretKey }),
    featureFlagsPollingInterval: config.pollingIntervalMs,
    flagDefinitionCacheProvider: provider,
    flushAt: 1_000,
    ...(config.sharedEtag && provider?.fetch && { fetch: provider.fetch }),
    ...config.posthogOptions,
  })
  const started = {
    client,
    provider,
    updates: 0,
    evaluate: async () => (config.evaluateUnready || client.isLocalEvaluationReady() ? evaluateLocally(client) : null),
    async close() {
      await client.shutdown(config.shutdownTimeoutMs)
      close()
    },
  }
  if (config.push && provider?.onUpdate) {
    provider.onUpdate(() => {
      started.updates += 1
      return client.reloadFeatureFlags()
    })
  }
  return started
}

async function evaluateLocally(client) {
  const options = { onlyEvaluateLocally: true, flagKeys: [VERSION_FLAG] }
  const { featureFlags } = await client.getAllFlagsAndPayloads('fleet-user', options)
  return featureFlags[VERSION_FLAG] ?? null
}
