// The one program that asks PostHog, run by cron or a Kubernetes CronJob; `cron-reader.mjs` is what all others do.

import { FlagDefinitionCache } from 'posthog-flag-cache'
import { PostHog } from 'posthog-node'

const { POSTHOG_PROJECT_KEY, POSTHOG_SECRET_KEY, POSTHOG_HOST, REDIS_URL } = process.env

const flagCache = new FlagDefinitionCache({ projectKey: POSTHOG_PROJECT_KEY, url: REDIS_URL })
// Each run asks, whatever the interval says. If nothing has changed, it costs 1 request: the shared ETag outlives this process.
await flagCache.invalidate()
const posthog = new PostHog(POSTHOG_PROJECT_KEY, {
  host: POSTHOG_HOST,
  secretKey: POSTHOG_SECRET_KEY,
  ...flagCache.clientOptions,
})
posthog.on('error', console.error)
const isReady = await posthog.waitForLocalEvaluationReady(30_000)
await posthog.shutdown()
process.exitCode = isReady ? 0 : 1
