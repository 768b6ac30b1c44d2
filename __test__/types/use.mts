// A consumer's program, as an ES module. Only compiled, never run.

import { PostHog, type PostHogOptions } from 'posthog-node'
import {
  FlagCacheError,
  FlagDefinitionCache,
  type FlagCacheCredentials,
  type FlagCacheErrorCode,
  type FlagCacheStatus,
  type FlagDefinitionCacheOptions,
  type FlagDefinitions,
} from 'posthog-flag-cache'
import { createRelay, type Relay, type RelayOptions, type RelayStatus } from 'posthog-flag-cache/relay'
import { contentType, instrument, prometheus } from 'posthog-flag-cache/metrics'
import { metrics } from '@opentelemetry/api'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
declare function expectType<Actual>(): <Expected>(...proof: Equal<Actual, Expected> extends true ? [] : [never]) => void

const everyOption: Required<FlagDefinitionCacheOptions> = {
  projectKey: 'phc_test',
  url: 'redis://localhost:6379/0',
  keyPrefix: 'posthog:flags',
  refreshIntervalMs: 30_000,
  leaseTtlMs: 45_000,
  maxAgeMs: 86_400_000,
  coldStartWaitMs: 0,
  connectTimeoutMs: 2_000,
  commandTimeoutMs: 1_000,
  role: 'reader',
  whenUnavailable: 'stale',
  whenRefused: 'clear',
  compression: 'zstd',
  username: 'app',
  password: 'secret',
  credentials: async () => ({ username: 'app', password: 'token', expiresAt: Date.now() + 900_000, tls: { cert: 'PEM', key: 'PEM' } }),
  sentinelUsername: 'guide',
  sentinelPassword: 'secret',
  tls: { ca: 'PEM', cert: 'PEM', key: 'PEM', serverName: 'cache.example', insecureSkipVerify: false },
  clientName: 'worker-1',
  localCopy: '/var/cache/flags',
}

const atOnce = (): FlagCacheCredentials => ({ password: 'token' })
const withFunction: FlagDefinitionCacheOptions = { projectKey: 'phc_test', credentials: atOnce }

const flagCache = new FlagDefinitionCache(everyOption)
const client = new PostHog('phc_test', {
  personalApiKey: 'phx_test',
  flagDefinitionCacheProvider: flagCache,
  fetch: flagCache.fetch,
})
expectType<typeof flagCache.fetch>()<NonNullable<PostHogOptions['fetch']>>()
const wired: PostHogOptions = { personalApiKey: 'phx_test', ...flagCache.clientOptions }
expectType<ReturnType<typeof flagCache.ensureFresh>>()<Promise<void>>()
await flagCache.ensureFresh(client, 60_000)
const traced: PostHogOptions = { fetch: flagCache.withFetch((url, options) => fetch(url, options)) }
const stopUpdates: () => void = flagCache.onUpdate((version) => {
  expectType<typeof version>()<string>()
  return client.reloadFeatureFlags()
})
flagCache.onError((error) => {
  if (error instanceof FlagCacheError) expectType<typeof error.code>()<FlagCacheErrorCode>()
})
expectType<ReturnType<typeof flagCache.invalidate>>()<Promise<void>>()
const status: FlagCacheStatus = flagCache.status()
const pause: number | null = status.retryInMs
const bill: [number, number] = [status.counters.requestsBilled, status.counters.requestsSaved]

const page: string = prometheus(flagCache, flagCache)
const headers: Record<string, string> = { 'content-type': contentType }
const uninstrument: () => void = instrument(flagCache, metrics.getMeter('app'))

// Were posthog-node's typings not found, its types would be `any`, and everything would fit.
type Provider = NonNullable<PostHogOptions['flagDefinitionCacheProvider']>
type PublishedData = Parameters<Provider['onFlagDefinitionsReceived']>[0]
expectType<PublishedData extends { flags: { key: string }[] } ? true : false>()<true>()
expectType<0 extends 1 & PublishedData ? 'any' : 'known'>()<'known'>()
expectType<FlagDefinitions>()<PublishedData>()

expectType<ReturnType<typeof flagCache.getFlagDefinitions>>()<Promise<FlagDefinitions | undefined>>()
expectType<ReturnType<typeof flagCache.shouldFetchFlagDefinitions>>()<Promise<boolean>>()
expectType<Parameters<typeof flagCache.onFlagDefinitionsReceived>>()<[data: FlagDefinitions]>()
expectType<ReturnType<typeof flagCache.shutdown>>()<Promise<void>>()

const definitions = await flagCache.getFlagDefinitions()
const firstKey: string | undefined = definitions?.flags[0]?.key
if (definitions && firstKey) await flagCache.onFlagDefinitionsReceived(definitions)

{
  await using disposed = new FlagDefinitionCache({ projectKey: 'phc_test' })
  await disposed.shouldFetchFlagDefinitions()
}

export function explain(error: FlagCacheError): string {
  switch (error.code) {
    case 'ERR_FLAG_CACHE_OPTIONS':
    case 'ERR_FLAG_CACHE_DATA':
    case 'ERR_FLAG_CACHE_TOO_LARGE':
    case 'ERR_FLAG_CACHE_UNAVAILABLE':
    case 'ERR_FLAG_CACHE_TIMEOUT':
    case 'ERR_FLAG_CACHE_AUTH':
    case 'ERR_FLAG_CACHE_CORRUPT':
    case 'ERR_FLAG_CACHE_READONLY':
    case 'ERR_FLAG_CACHE_CLOSED':
    case 'ERR_FLAG_CACHE_API':
    case 'ERR_FLAG_CACHE_NATIVE':
    case 'ERR_FLAG_CACHE_RUNTIME':
      return `${error.name}: ${error.message} (${String(error.cause)})`
    default:
      return error.code satisfies never
  }
}

const everyRelayOption: Required<
  Pick<RelayOptions, 'projectKey' | 'secretKey' | 'upstream' | 'proxy' | 'basePath' | 'compress' | 'requestTimeoutMs'>
> = {
  projectKey: 'phc_test',
  secretKey: 'phs_test',
  upstream: 'https://eu.i.posthog.com',
  proxy: true,
  basePath: '/relay',
  compress: false,
  requestTimeoutMs: 10_000,
}
const relay: Relay = createRelay({ ...everyRelayOption, url: 'redis://localhost' })
expectType<ReturnType<typeof relay.status>>()<RelayStatus>()
export const relayed: [FlagCacheStatus, number] = [relay.status(), relay.status().relay.responses[304]]
export const metricsOfRelay: string = prometheus(relay, flagCache)
expectType<ReturnType<typeof relay.fetch>>()<Promise<Response>>()
export const answer = relay.fetch(new Request('http://relay.example/healthz'), { clientAddress: '203.0.113.7' })
export const closed: Promise<void> = relay.close()
