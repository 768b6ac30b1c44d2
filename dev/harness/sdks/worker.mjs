// A Cloudflare Worker with posthog-node's edge entry, as its test asks it: a JSON array `[command, argument]` in, JSON out.

import { PostHog } from 'posthog-node/edge'

let client

export default {
  async fetch(request, { HOST, PROJECT_KEY, SECRET_KEY }) {
    // Its polls are those that it is asked for: a Worker has no timers between two requests.
    client ??= new PostHog(PROJECT_KEY, { host: HOST, secretKey: SECRET_KEY, featureFlagsPollingInterval: 3_600_000, flushAt: 1 })
    const [command, argument] = await request.json()
    if (command === 'load') await client.reloadFeatureFlags()
    if (command === 'evaluate') return Response.json(await Promise.all(argument.map((user) => client.getAllFlags(...user))))
    if (command === 'capture') await client.captureImmediate({ distinctId: 'user-1', event: argument })
    if (command === 'decide') return Response.json(await client.getAllFlags('user-1'))
    return Response.json(null)
  },
}
