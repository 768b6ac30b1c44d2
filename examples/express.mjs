// Express: one client for all requests. npm install express posthog-node posthog-flag-cache
// Set POSTHOG_PROJECT_KEY, POSTHOG_SECRET_KEY and REDIS_URL, and POSTHOG_HOST if your project is in the EU.

import express from 'express'
import { FlagDefinitionCache } from 'posthog-flag-cache'
import { PostHog } from 'posthog-node'

const { POSTHOG_PROJECT_KEY, POSTHOG_SECRET_KEY, POSTHOG_HOST, REDIS_URL, WEBHOOK_SECRET, PORT = '3000' } = process.env

const flagCache = new FlagDefinitionCache({ projectKey: POSTHOG_PROJECT_KEY, url: REDIS_URL })
const posthog = new PostHog(POSTHOG_PROJECT_KEY, {
  host: POSTHOG_HOST,
  secretKey: POSTHOG_SECRET_KEY,
  ...flagCache.clientOptions,
})
posthog.on('error', console.error)
flagCache.onUpdate(() => posthog.reloadFeatureFlags())

const app = express()

app.get('/flags/:user', async (request, response) => {
  response.json(await posthog.getAllFlags(request.params.user, { onlyEvaluateLocally: true }))
})

// Asks nobody, so it is safe in a health check.
app.get('/health', (_request, response) => response.json(flagCache.status()))

// For a webhook that tells of an edit: the whole fleet has it at once.
if (WEBHOOK_SECRET) {
  const handle = flagCache.webhookHandler({ secret: WEBHOOK_SECRET, posthog })
  app.all('/flags-changed', async (request, response) => {
    const { method } = request
    const headers = { authorization: request.get('authorization') ?? '' }
    const answer = await handle(new Request('http://localhost/', { method, headers }))
    response.set(Object.fromEntries(answer.headers)).sendStatus(answer.status)
  })
}

const server = app.listen(Number(PORT), '127.0.0.1', () => console.log('listening'))
// Gives the turn to fetch to another process, at once.
process.once('SIGTERM', () => server.close(() => posthog.shutdown()))
