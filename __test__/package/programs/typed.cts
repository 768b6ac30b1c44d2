import { PostHog } from 'posthog-node'
import { FlagCacheError, FlagDefinitionCache } from 'posthog-flag-cache'

import { use } from './client.cjs'

// @ts-expect-error: there is no such option
export type None = FlagDefinitionCache['nothing']
use({ PostHog }, { FlagCacheError, FlagDefinitionCache })
