// A consumer's program, as a CommonJS module. Only compiled, never run.

import { PostHog, type PostHogOptions } from 'posthog-node'
import { FlagCacheError, FlagDefinitionCache } from 'posthog-flag-cache'
import flagCachePackage = require('posthog-flag-cache')
import packageJson = require('posthog-flag-cache/package.json')
import relayPackage = require('posthog-flag-cache/relay')

const options: PostHogOptions = {
  personalApiKey: 'phx_test',
  flagDefinitionCacheProvider: new FlagDefinitionCache({ projectKey: 'phc_test', url: process.env.REDIS_URL }),
}
const client = new PostHog('phc_test', options)
client.on('error', (error) => {
  if (error instanceof FlagCacheError) console.error(error.code, error.cause, packageJson.version)
})

const required: FlagDefinitionCache = new flagCachePackage.FlagDefinitionCache({ projectKey: 'phc_test' })
void required.shutdown()

export const relay = relayPackage.createRelay({ projectKey: 'phc_test', secretKey: 'phs_test' })
