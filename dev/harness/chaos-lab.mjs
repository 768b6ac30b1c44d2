// What a fault may touch: where the flags are, the way to them, a stand-in for PostHog, and a fleet of watched posthog-node
// processes.

import { randomUUID } from 'node:crypto'

import { CLIENT_NAME, startSingle } from './deployments.mjs'
import { Fleet } from './fleet.mjs'
import { startPostHogApi } from './posthog-api.mjs'
import { OURS } from './providers.mjs'

const POLL_MS = 400

/** The defaults, but for the last, which makes the limit of a call. */
const LIMITS = { connectTimeoutMs: 2_000, commandTimeoutMs: 1_000, coldStartWaitMs: 600 }

/** For faults that shall outlast them, and be short. */
export const SHORT = { connectTimeoutMs: 800, commandTimeoutMs: 700 }

/** The user of a fleet that does not log in as the default one. */
const USER = ['worker', 's3cret']

const REDIS = [
  ['--enable-debug-command', 'yes'],
  ['--user', USER[0], 'on', `>${USER[1]}`, '~*', '&*', '+@all'],
].flat()

/** What makes a server speak RESP2 only. */
const RESP2 = ['--rename-command', 'HELLO', '']

/**
 * Opens one. `topology`: what starts the servers, of dev/harness/deployments.mjs; `asUser`: the fleet logs in by name and password;
 * `resp2`: the servers lack RESP3, so that each process has two connections; `flags`: how many there are; `options` of the provider; `clients` of posthog-node in each process; `settings`: more of the
 * fleet's.
 */
export async function openChaosLab({
  topology = startSingle,
  asUser = false,
  resp2 = false,
  flags,
  options,
  clients = 1,
  pollMs = POLL_MS,
  settings,
} = {}) {
  const api = await startPostHogApi({ projectKey: `phc_${randomUUID()}`, flags })
  const dataKey = `posthog:flags:{${api.projectKey}}`
  const deployment = await topology(resp2 ? [...REDIS, ...RESP2] : REDIS, dataKey)
  const url = asUser ? deployment.url.replace('//', `//${USER.join(':')}@`) : deployment.url
  const limits = { ...LIMITS, ...options }
  const fleet = new Fleet({
    api,
    kind: OURS,
    options: { url, clientName: CLIENT_NAME, ...limits },
    pollingIntervalMs: pollMs,
    clients,
    sharedEtag: true,
    push: true,
    watch: true,
    evaluateEveryMs: 20,
    ...settings,
  })
  return Object.assign(deployment, {
    api,
    fleet,
    pollMs,
    clients,
    limits,
    connectionsEach: resp2 ? 2 : 1,
    keys: { data: dataKey, state: `${dataKey}:state` },
    async close() {
      await fleet.destroy()
      await api.close()
      await deployment.stop()
    },
  })
}
