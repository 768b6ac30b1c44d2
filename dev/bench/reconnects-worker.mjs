// A process with many clients of a Redis, none of which shares a connection with another: `[url, count, pollMs]` as JSON.

import { loadOurs } from '../harness/providers.mjs'

const [url, count, pollMs] = JSON.parse(process.argv[2])
const { FlagDefinitionCache } = loadOurs()
process.once('disconnect', () => process.exit())

const caches = Array.from(
  { length: count },
  (_, n) =>
    new FlagDefinitionCache({
      projectKey: 'phc_storm',
      url,
      role: 'reader',
      coldStartWaitMs: 0,
      // Other limits, another connection.
      maxAgeMs: 86_400_000 + n,
    }),
)

const poll = () =>
  Promise.all(
    caches.map((cache) =>
      cache.getFlagDefinitions().then(
        () => true,
        () => false,
      ),
    ),
  )

setInterval(poll, pollMs)
// How many of them are answered.
process.on('message', async () => process.send((await poll()).filter(Boolean).length))
