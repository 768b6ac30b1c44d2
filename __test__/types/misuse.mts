// What must not compile.

import { PostHog } from 'posthog-node'
import { FlagCacheError, FlagDefinitionCache } from 'posthog-flag-cache'
import { instrument, prometheus } from 'posthog-flag-cache/metrics'

const projectKey = 'phc_test'

// @ts-expect-error options are required
new FlagDefinitionCache()
// @ts-expect-error projectKey is required
new FlagDefinitionCache({})
// @ts-expect-error projectKey is required
new FlagDefinitionCache({ url: 'memory:' })
// @ts-expect-error unknown option
new FlagDefinitionCache({ projectKey, refreshInterval: 30_000 })
// @ts-expect-error ill-typed option
new FlagDefinitionCache({ projectKey, refreshIntervalMs: '30s' })
// @ts-expect-error ill-typed option
new FlagDefinitionCache({ projectKey, url: new URL('memory:') })
// @ts-expect-error ill-typed option
new FlagDefinitionCache({ projectKey: 42 })
// @ts-expect-error unknown role
new FlagDefinitionCache({ projectKey, role: 'writer' })
// @ts-expect-error unknown choice
new FlagDefinitionCache({ projectKey, whenUnavailable: 'fail' })
// @ts-expect-error unknown choice
new FlagDefinitionCache({ projectKey, whenRefused: 'drop' })
// @ts-expect-error unknown choice
new FlagDefinitionCache({ projectKey, compression: true })
// @ts-expect-error ill-typed option
new FlagDefinitionCache({ projectKey, localCopy: 1 })
// @ts-expect-error TLS has no switch: the scheme of the url is one
new FlagDefinitionCache({ projectKey, tls: true })
// @ts-expect-error certificates are text
new FlagDefinitionCache({ projectKey, tls: { ca: new Uint8Array() } })

// @ts-expect-error the class itself is not a provider
new PostHog(projectKey, { flagDefinitionCacheProvider: FlagDefinitionCache })

const flagCache = new FlagDefinitionCache({ projectKey })
// @ts-expect-error data is required
void flagCache.onFlagDefinitionsReceived()
// @ts-expect-error flags is required
void flagCache.onFlagDefinitionsReceived({ cohorts: {}, groupTypeMapping: {} })
// @ts-expect-error flags is an array
void flagCache.onFlagDefinitionsReceived({ flags: {}, cohorts: {}, groupTypeMapping: {} })

// @ts-expect-error metrics are of caches
prometheus(flagCache.status())
// @ts-expect-error the meter is required
instrument(flagCache)

// @ts-expect-error errors are made by this package only
new FlagCacheError('no')
declare const error: FlagCacheError
// @ts-expect-error not a code
if (error.code === 'ERR_FLAG_CACHE_TYPO') void 0
