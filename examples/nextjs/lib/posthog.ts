import 'server-only'

import { FlagDefinitionCache } from 'posthog-flag-cache'
import { PostHog } from 'posthog-node'

/**
 * How flags are evaluated:
 * - `off`: not at all; there is no project key, or this is not production. The client sends nothing.
 * - `remote`: by PostHog, a request each; there is no secret key.
 * - `local`: here, from definitions that all servers share.
 */
export type ServerPostHog =
  | { mode: 'off' | 'remote'; posthog: PostHog; flagCache?: undefined }
  | { mode: 'local'; posthog: PostHog; flagCache: FlagDefinitionCache }

const KEY = Symbol.for('app.posthog')

/** The one client of this process: bundles, and every hot reload, would each make one of their own. */
export function serverPostHog(): ServerPostHog {
  const holder = globalThis as { [KEY]?: ServerPostHog }
  holder[KEY] ??= connect()
  return holder[KEY]
}

function connect(): ServerPostHog {
  const { POSTHOG_PROJECT_KEY: projectKey, POSTHOG_SECRET_KEY: secretKey, POSTHOG_HOST: host } = process.env
  const isWanted = process.env.NODE_ENV === 'production' || process.env.POSTHOG_IN_DEVELOPMENT === '1'
  if (!projectKey || !isWanted) return { mode: 'off', posthog: new PostHog('phc_off', { disabled: true }) }
  if (!secretKey) return { mode: 'remote', posthog: new PostHog(projectKey, { host }) }

  const pollingIntervalMs = Number(process.env.POSTHOG_POLLING_INTERVAL_MS || 30_000)
  const flagCache = new FlagDefinitionCache({
    projectKey,
    url: process.env.REDIS_URL,
    refreshIntervalMs: pollingIntervalMs,
    clientName: 'nextjs',
  })
  const posthog = new PostHog(projectKey, {
    host,
    secretKey,
    ...flagCache.clientOptions,
  })
  flagCache.onUpdate(() => posthog.reloadFeatureFlags())
  flagCache.onError(console.error)
  posthog.on('error', console.error)
  return { mode: 'local', posthog, flagCache }
}
