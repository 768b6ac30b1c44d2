'use strict'

/** How much longer everything takes where an emulator runs it. */
const SLOWNESS = Number(process.env.PLATFORM_SLOWNESS ?? 1)
const IN_AN_EMULATOR = SLOWNESS > 1 && { refreshIntervalMs: 30_000 * SLOWNESS, coldStartWaitMs: 5_000 * SLOWNESS }

/**
 * What every consumer does: a real client of posthog-node over the cache; prints the version of the definitions that it
 * evaluates, and is gone when it is done.
 */
exports.use = async function use({ PostHog }, { FlagDefinitionCache, FlagCacheError }, print = console.log) {
  const { API_URL, PROJECT_KEY, SECRET_KEY, CACHE_URL } = process.env
  const flagCache = new FlagDefinitionCache({ projectKey: PROJECT_KEY, url: CACHE_URL, ...IN_AN_EMULATOR })
  const posthog = new PostHog(PROJECT_KEY, {
    host: API_URL,
    // Both names, for the versions that know only the older one.
    secretKey: SECRET_KEY,
    personalApiKey: SECRET_KEY,
    flagDefinitionCacheProvider: flagCache,
    fetch: flagCache.fetch,
  })
  const errors = []
  posthog.on('error', (error) => errors.push(String(error)))
  await posthog.waitForLocalEvaluationReady(10_000 * SLOWNESS)
  const { 'fleet-version': version } = await posthog.getAllFlags('somebody', { onlyEvaluateLocally: true })
  await posthog.shutdown()
  const late = await flagCache.getFlagDefinitions().catch((error) => error)
  const isOurs = late instanceof FlagCacheError && late.code === 'ERR_FLAG_CACHE_CLOSED'
  print(JSON.stringify({ version, errors, isOurs, server: flagCache.status().backend.server?.split(' ')[0] }))
}
