import { PostHog } from 'posthog-node'
import { FlagCacheError, FlagDefinitionCache, type FlagCacheStatus } from 'posthog-flag-cache'

import { use } from './client.cjs'

const { PROJECT_KEY: projectKey = '', CACHE_URL: url } = process.env
const flagCache = new FlagDefinitionCache({ projectKey, url })
export const options: ConstructorParameters<typeof PostHog>[1] = { flagDefinitionCacheProvider: flagCache, fetch: flagCache.fetch }
export const status: FlagCacheStatus = flagCache.status()
// @ts-expect-error: it is no number
export const bad = () => new FlagDefinitionCache({ projectKey, url: 6379 })
use({ PostHog }, { FlagCacheError, FlagDefinitionCache })
