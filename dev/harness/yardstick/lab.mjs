// Two fleets side by side: one with the cache, and one of posthog-node alone, each with a PostHog of its own that does the same.

import { openChaosLab } from '../chaos-lab.mjs'
import { Fleet } from '../fleet.mjs'
import { startPostHogApi } from '../posthog-api.mjs'

const EVALUATE_EVERY_MS = 25

/** How long PostHog takes to answer. */
const DELAY_MS = 50

/**
 * Opens both, and returns `[cached, plain]`, each with `api`, `fleet`, `pollMs` and `limits`; `cached` is the whole chaos lab.
 *
 * `fetch`: the client's requests go through `flagCache.fetch`, and it listens to `onUpdate()`. `evaluates`: the program evaluates
 * flags before it has any, so that posthog-node loads again each time. `delayMs`: how long PostHog takes to answer.
 * `requestTimeoutMs`: how long posthog-node waits for an answer. The rest is for `openChaosLab`.
 */
export async function openPair({
  fetch = true,
  evaluates = false,
  delayMs = DELAY_MS,
  pollMs,
  requestTimeoutMs = pollMs,
  options,
  ...rest
}) {
  const settings = {
    sharedEtag: fetch,
    push: fetch,
    watch: false,
    evaluateEveryMs: EVALUATE_EVERY_MS,
    evaluateUnready: evaluates,
    posthogOptions: { requestTimeout: requestTimeoutMs },
  }
  const cached = await openChaosLab({ ...rest, pollMs, options, settings })
  cached.api.delayMs = delayMs
  const api = await startPostHogApi({ projectKey: cached.api.projectKey, flags: rest.flags, delayMs })
  const fleet = new Fleet({ api, pollingIntervalMs: pollMs, ...settings })
  const plain = {
    api,
    fleet,
    pollMs,
    limits: cached.limits,
    async close() {
      await fleet.destroy()
      await api.close()
    },
  }
  return [cached, plain]
}
