import { PostHog } from 'posthog-node'
import asDefault, { FlagCacheError, FlagDefinitionCache } from 'posthog-flag-cache'
import * as everything from 'posthog-flag-cache'

import { use } from './client.cjs'

if (asDefault.FlagDefinitionCache !== FlagDefinitionCache) throw new Error('the default export is not what require() returns')
if (everything.FlagCacheError !== FlagCacheError) throw new Error('the names are not exported')
await use({ PostHog }, { FlagCacheError, FlagDefinitionCache })
