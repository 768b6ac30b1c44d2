// What one measurement may use: a Redis of its own, stand-ins for PostHog, fleets, providers.

import { Fleet } from '../harness/fleet.mjs'
import { startPostHogApi } from '../harness/posthog-api.mjs'
import { prepareProvider } from '../harness/providers.mjs'
import { startRedis } from '../harness/redis.mjs'

/**
 * `open({ pollMs, delayMs })` gives a PostHog and a fleet that asks it; `provider()` a provider without a client;
 * `close()` ends all of it. `fetch` and `onUpdate` are used where the provider has them.
 */
export async function openLab({ kind, pollMs, projectKey }) {
  const redis = await startRedis()
  const opened = []
  return {
    kind,
    redis,
    pollMs,
    async open({ pollMs: pollingIntervalMs = pollMs, ...options } = {}) {
      const api = await startPostHogApi({ projectKey, ...options })
      const fleet = new Fleet({ api, kind, options: { url: redis.url }, pollingIntervalMs, sharedEtag: true, push: true })
      opened.push(
        () => fleet.destroy(),
        () => api.close(),
      )
      return { api, fleet }
    },
    async provider() {
      const create = await prepareProvider(kind)
      const { provider, close } = create({ projectKey, pollingIntervalMs: pollMs, options: { url: redis.url } })
      opened.push(async () => {
        await provider.shutdown().catch(() => {})
        close()
      })
      return provider
    },
    async close() {
      for (const end of opened) await end()
      await redis.stop()
    },
  }
}
