// Where the flags of a chaos lab may be: in one server, in a master that sentinels watch, or in a cluster.
//
// Each is `{ url, directUrl, admin, arrivals(), connections(), stop() }` and what its faults need. The fleet comes by `url`, others
// by `directUrl`; `admin` is a client of ioredis for the server that has the flags; `arrivals()`: how often, at least, somebody
// has tried to connect to each server; `connections()`: how many of the fleet there are.

import { now, sleep } from './clock.mjs'
import { startFaultProxy } from './fault-proxy.mjs'
import { startRedis } from './redis.mjs'

/** What the fleet's connections are called. */
export const CLIENT_NAME = 'of-the-fleet'

/** A replica need not wait for others that might come for the same. */
const REPLICATION = ['--repl-diskless-sync-delay', '0']

const PATIENCE_MS = 30_000

/** One server, and a proxy on the fleet's way to it. */
export async function startSingle(args) {
  let server = await startServer(args)
  const { port } = server
  const proxy = await startFaultProxy(port)
  return {
    url: proxy.url,
    directUrl: server.url,
    proxy,
    get redis() {
      return server
    },
    get admin() {
      return server.admin
    },
    /** Another client that goes around the proxy. */
    client: () => server.client(),
    /** Kills the server; its data is gone. */
    stopRedis: () => server.stop(),
    /** Brings an empty one back in its place. */
    async startRedis() {
      server = await startServer(args, port)
    },
    arrivals: async () => [proxy.attempts.length],
    connections: async () => Math.max(proxy.open, await connectionsOf(server)),
    async stop() {
      await proxy.close()
      await server.stop()
    },
  }
}

const MASTER = 'mymaster'

/** Each of them is much slower by default: a sentinel leaves an old master that lives as it is for 8 to 18 seconds. */
const SENTINEL_PERIODS = ['INFO-PERIOD', 500, 'PUBLISH-PERIOD', 200, 'ASK-PERIOD', 200]

/** A master, its replica, and three sentinels, of which two must agree that it is gone. */
export async function startWatched(args) {
  const pair = await Promise.all([startServer([...args, ...REPLICATION]), startServer([...args, ...REPLICATION])])
  let master = 0
  const [{ port }, replica] = pair
  await replica.admin.replicaof('127.0.0.1', port)
  await until(async () => (await pair[0].admin.info('replication')).includes('state=online'))
  const sentinels = await Promise.all([1, 2, 3].map(() => startServer(['--sentinel'])))
  for (const { admin } of sentinels) {
    await admin.call('SENTINEL', 'DEBUG', ...SENTINEL_PERIODS)
    await admin.call('SENTINEL', 'MONITOR', MASTER, '127.0.0.1', port, 2)
    await admin.call('SENTINEL', 'SET', MASTER, 'down-after-milliseconds', 1_000, 'failover-timeout', 5_000)
  }
  for (const { admin } of sentinels) await until(async () => /slaves=1,sentinels=3/.test(await admin.info('sentinel')))
  const url = `redis-sentinel://${addresses(sentinels)}?master=${MASTER}`
  return {
    url,
    directUrl: url,
    sentinels,
    get admin() {
      return pair[master].admin
    },
    /** Has a sentinel put the replica in the master's place. */
    async failOver() {
      const [{ admin }] = sentinels
      // It refuses until it has looked at the replica.
      await until(() =>
        admin.call('SENTINEL', 'FAILOVER', MASTER).then(
          () => true,
          () => false,
        ),
      )
    },
    /** Resolves once every sentinel names the replica. */
    async untilNamed() {
      const named = ({ admin }) => admin.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER)
      const next = pair[1 - master]
      for (const sentinel of sentinels) await until(async () => Number((await named(sentinel))[1]) === next.port)
      master = 1 - master
    },
    /** Resolves once the old master has become a replica. */
    async untilDemoted() {
      const { admin } = pair[1 - master]
      await until(async () => (await admin.call('ROLE'))[0] === 'slave')
    },
    killMaster: () => pair[master].stop(),
    /** Brings back the one that was killed, which takes itself for a master. */
    async reviveReplica() {
      const { port } = pair[1 - master]
      pair[1 - master] = await startServer([...args, ...REPLICATION], port)
    },
    ...whole(() => [...pair, ...sentinels]),
  }
}

const RANGES = [
  [0, 5460],
  [5461, 10922],
  [10923, 16383],
]

/** Three masters, of which the first has `key`, and a replica of that one. */
export async function startCluster(args, key) {
  const cluster = [...REPLICATION, '--cluster-enabled', 'yes', '--cluster-node-timeout', '1000']
  const nodes = await Promise.all([1, 2, 3, 4].map(() => startServer([...args, ...cluster])))
  const [first, , , replica] = nodes
  const slot = await first.admin.cluster('KEYSLOT', key)
  const ours = RANGES.findIndex(([, last]) => slot <= last)
  for (const [n, { admin }] of nodes.entries()) {
    await admin.cluster('SET-CONFIG-EPOCH', n + 1)
    if (n < RANGES.length) await admin.cluster('ADDSLOTSRANGE', ...RANGES[(ours + n) % RANGES.length])
    if (n > 0) await admin.cluster('MEET', '127.0.0.1', first.port)
  }
  for (const node of nodes) node.id = await node.admin.cluster('MYID')
  const all = async (command, holds) => {
    for (const { admin } of nodes.filter(({ ended }) => !ended)) await until(async () => holds(await admin.cluster(command)))
  }
  await all('INFO', (info) => info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${nodes.length}`))
  await replica.admin.cluster('REPLICATE', first.id)
  await until(async () => (await replica.admin.info('replication')).includes('master_link_status:up'))
  // The others must know, or they would not elect it.
  await all('NODES', (known) => known.includes('slave '))

  let owner = first
  const url = `redis-cluster://${addresses(nodes)}`
  return {
    url,
    directUrl: url,
    slot,
    nodes,
    get admin() {
      return owner.admin
    },
    killOwner: () => owner.stop(),
    /** Resolves once every node holds `node` for the master of our slot. */
    async untilOwnedBy(node) {
      await all('SLOTS', (shards) => shards.some(([from, to, [, port]]) => from <= slot && slot <= to && port === node.port))
      await all('INFO', (info) => info.includes('cluster_state:ok'))
      owner = node
    },
    ...whole(() => nodes),
  }
}

async function startServer(args, port) {
  const server = await startRedis({ port, args })
  return Object.assign(server, { admin: server.client() })
}

const addresses = (servers) => servers.map(({ port }) => `127.0.0.1:${port}`)

async function arrivalsAt({ admin, ended }) {
  return ended ? 0 : Number(/total_connections_received:(\d+)/.exec(await admin.info('stats'))[1])
}

async function connectionsOf({ admin, ended }) {
  if (ended) return 0
  const clients = (await admin.call('CLIENT', 'LIST')).split('\n')
  return clients.filter((line) => line.includes(`name=${CLIENT_NAME} `)).length
}

/** What holds for several servers as for one. */
const whole = (servers) => ({
  // Whoever asks a server for the way may find that it leads to that server: it arrives twice.
  arrivals: async () => (await Promise.all(servers().map(arrivalsAt))).map((count) => count / 2),
  async connections() {
    const counts = await Promise.all(servers().map(connectionsOf))
    return counts.reduce((sum, count) => sum + count)
  },
  stop: () => Promise.all(servers().map((server) => server.stop())),
})

/** Servers tell nobody when they have found each other. */
async function until(isSo) {
  const deadline = now() + PATIENCE_MS
  while (!(await isSo())) {
    if (now() > deadline) throw new Error(`it does not become so: ${isSo}`)
    await sleep(20)
  }
}
