// The command line, and what it needs to know.

import { fileURLToPath } from 'node:url'

export const CLI = fileURLToPath(new URL('../../cli.js', import.meta.url))

/** A store, a project and a stand-in for PostHog, as environment variables. */
export const environment = ({ url, projectKey, api }) => ({
  POSTHOG_FLAG_CACHE_URL: url,
  POSTHOG_PROJECT_KEY: projectKey ?? api?.projectKey,
  ...(api && { POSTHOG_SECRET_KEY: api.secretKey, POSTHOG_HOST: api.url }),
})
