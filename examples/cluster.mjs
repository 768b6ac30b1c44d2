// node:cluster, and PM2's cluster mode: the processes of one host share a directory, without Redis. Under PM2 the part for the
// workers is the whole program (pm2 start app.mjs -i max).

import cluster from 'node:cluster'
import { createServer } from 'node:http'
import { availableParallelism } from 'node:os'

import { FlagDefinitionCache } from 'posthog-flag-cache'
import { PostHog } from 'posthog-node'

const { POSTHOG_PROJECT_KEY, POSTHOG_SECRET_KEY, POSTHOG_HOST, PORT = '3000', WORKERS = availableParallelism() } = process.env

if (cluster.isPrimary) {
  for (let n = 0; n < Number(WORKERS); n += 1) cluster.fork()
  cluster.on('exit', (worker) => {
    if (!worker.exitedAfterDisconnect) cluster.fork()
  })
  process.once('SIGTERM', () => cluster.disconnect())
} else {
  const flagCache = new FlagDefinitionCache({ projectKey: POSTHOG_PROJECT_KEY })
  const posthog = new PostHog(POSTHOG_PROJECT_KEY, {
    host: POSTHOG_HOST,
    secretKey: POSTHOG_SECRET_KEY,
    ...flagCache.clientOptions,
  })
  flagCache.onUpdate(() => posthog.reloadFeatureFlags())

  const server = createServer(async (_request, response) => {
    const flags = await posthog.getAllFlags('ada', { onlyEvaluateLocally: true })
    response.end(JSON.stringify({ pid: process.pid, flags }))
  })
  await posthog.waitForLocalEvaluationReady(10_000)
  server.listen(Number(PORT), '127.0.0.1', () => console.log('listening'))
  // The primary says goodbye by closing the channel, PM2 by SIGINT.
  process.once('disconnect', () => server.close())
  process.once('SIGINT', () => server.close())
  server.once('close', async () => {
    await posthog.shutdown()
    // The channel to PM2 keeps the process alive, and PM2 kills it after 1.6 s.
    process.exit()
  })
}
