// What a fault may touch: a Redis, the way to it, a stand-in for PostHog, and a fleet of watched posthog-node processes.

import { randomUUID } from 'node:crypto'

import { startFaultProxy } from './fault-proxy.mjs'
import { Fleet } from './fleet.mjs'
import { startPostHogApi } from './posthog-api.mjs'
import { OURS } from './providers.mjs'
import { startRedis } from './redis.mjs'

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

/**
 * Opens one. `asUser`: the fleet logs in by name and password; `flags`: how many there are; `options` of the provider;
 * `clients` of posthog-node in each process; `settings`: more of the fleet's.
 *
 * The fleet reaches Redis through `proxy`; `admin` is a client of ioredis that goes around it.
 */
export async function openChaosLab({ asUser = false, flags, options, clients = 1, pollMs = POLL_MS, settings } = {}) {
  let redis = await startRedis({ args: REDIS })
  let admin = redis.client()
  const { port } = redis
  const proxy = await startFaultProxy(port)
  const api = await startPostHogApi({ projectKey: `phc_${randomUUID()}`, flags })
  const url = asUser ? proxy.url.replace('//', `//${USER.join(':')}@`) : proxy.url
  const limits = { ...LIMITS, ...options }
  const fleet = new Fleet({
    api,
    kind: OURS,
    options: { url, clientName: 'of-the-fleet', ...limits },
    pollingIntervalMs: pollMs,
    clients,
    sharedEtag: true,
    push: true,
    watch: true,
    evaluateEveryMs: 20,
    ...settings,
  })
  const dataKey = `posthog:flags:{${api.projectKey}}`
  return {
    api,
    fleet,
    proxy,
    pollMs,
    clients,
    limits,
    keys: { data: dataKey, state: `${dataKey}:state` },
    get redis() {
      return redis
    },
    get admin() {
      return admin
    },
    /** Another client that goes around the proxy. */
    client: () => redis.client(),
    /** Kills the server; its data is gone. */
    stopRedis: () => redis.stop(),
    /** Brings an empty one back in its place. */
    async startRedis() {
      redis = await startRedis({ port, args: REDIS })
      admin = redis.client()
    },
    /** How many connections of the fleet the server has. */
    async connections() {
      const clients = (await admin.call('CLIENT', 'LIST')).split('\n')
      return clients.filter((line) => line.includes('name=of-the-fleet ')).length
    },
    async close() {
      await fleet.destroy()
      await proxy.close()
      await api.close()
      await redis.stop()
    },
  }
}
