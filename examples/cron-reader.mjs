// A process that evaluates flags, without the secret key: it only reads what `cron-writer.mjs` has published.

import { FlagDefinitionCache } from 'posthog-flag-cache'
import { PostHog } from 'posthog-node'

const { POSTHOG_PROJECT_KEY, POSTHOG_HOST, REDIS_URL } = process.env

// Read rights on the keys are enough.
const flagCache = new FlagDefinitionCache({ projectKey: POSTHOG_PROJECT_KEY, url: REDIS_URL, role: 'reader' })
// posthog-node evaluates locally without a key from 5.61 on.
const posthog = new PostHog(POSTHOG_PROJECT_KEY, { host: POSTHOG_HOST, flagDefinitionCacheProvider: flagCache })
posthog.on('error', console.error)
flagCache.onUpdate(() => posthog.reloadFeatureFlags())
posthog.on('localEvaluationFlagsLoaded', async () => {
  console.log(JSON.stringify(await posthog.getAllFlags('ada', { onlyEvaluateLocally: true })))
})
process.once('SIGTERM', () => posthog.shutdown())
