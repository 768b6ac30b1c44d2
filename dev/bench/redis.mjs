// `npm run bench:redis`: what a project takes in Redis, and what a poll asks of it. The tables of docs/operations.md.

import { readFileSync } from 'node:fs'

import { begin, progress } from './command.mjs'
import { writeDocs } from './docs.mjs'
import { sleep } from '../harness/clock.mjs'
import { edit, largeDefinitions } from './large-definitions.mjs'
import { machine } from './machine.mjs'
import { startCountingProxy } from './perf/counting-proxy.mjs'
import { markdown, size } from './perf/report.mjs'
import { loadOurs } from '../harness/providers.mjs'
import { startRedis } from '../harness/redis.mjs'

const SIZES = { '50 KB': 50_000, '500 KB': 500_000, '5 MB': 5_000_000, '20 MB': 20_000_000 }
/** The size of the second table: where a patch is of use. */
const POLLED = '500 KB'
const POLLS = 20
const INTERVAL_MS = 100
const DOCUMENT = 'docs/operations.md'
const KEY = 'posthog:flags:{phc_bench}'
const DEFINITIONS_URL = 'http://127.0.0.1/flags/definitions?token=phc_bench'

const USAGE = `npm run bench:redis [-- --write]
  --write   into ${DOCUMENT}`

const args = begin(USAGE, {})
const { FlagDefinitionCache } = loadOurs()

/** Caches that share nothing in this process, as if each had one of its own: their limits differ. */
let others = 0
const open = (url, options) =>
  new FlagDefinitionCache({ projectKey: 'phc_bench', url, refreshIntervalMs: INTERVAL_MS, commandTimeoutMs: 30_000 + ++others, ...options })

/** Is told to fetch, and gets `set`, or that nothing has changed. */
async function fetchAs(cache, set, status = 200) {
  if (!(await cache.shouldFetchFlagDefinitions())) throw new Error('it is not the turn of this cache')
  const headers = { etag: `"${set?.flags.reduce((sum, flag) => sum + flag.version, 0)}"` }
  const answer = () => new Response(status === 200 ? JSON.stringify(set) : null, { status, headers })
  const response = await cache.withFetch(async () => answer())(DEFINITIONS_URL)
  if (status === 200) await cache.onFlagDefinitionsReceived(await response.json())
}

/** The most memory that a process has had, in bytes. */
const highWater = (pid) => Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024

async function memoryOf(bytes, compression) {
  const redis = await startRedis()
  const client = redis.client()
  const empty = highWater(redis.pid)
  const [leader, follower] = [open(redis.url, { compression }), open(redis.url, { compression })]
  const set = largeDefinitions({ bytes, seed: 1 })
  await fetchAs(leader, set)
  await follower.getFlagDefinitions()
  const found = {
    flags: set.flags.length,
    definitions: await client.memory('USAGE', KEY, 'SAMPLES', 0),
    state: await client.memory('USAGE', `${KEY}:state`, 'SAMPLES', 0),
  }
  await sleep(INTERVAL_MS)
  await fetchAs(leader, edit(set, 1))
  await follower.getFlagDefinitions()
  found.stateWithPatch = await client.memory('USAGE', `${KEY}:state`, 'SAMPLES', 0)
  found.atMost = highWater(redis.pid) - empty
  await Promise.all([leader.shutdown(), follower.shutdown()])
  await redis.stop()
  return found
}

async function polls() {
  const redis = await startRedis()
  const proxy = await startCountingProxy(redis.port)
  const client = redis.client()
  const options = { compression: 'auto', refreshIntervalMs: INTERVAL_MS }
  const [leader, follower] = [open(redis.url, options), open(proxy.url, { ...options, refreshIntervalMs: 86_400_000 })]
  const set = largeDefinitions({ bytes: SIZES[POLLED], seed: 1 })
  await fetchAs(leader, set)
  const poll = async () => {
    if (await follower.shouldFetchFlagDefinitions()) throw new Error('a follower was told to fetch')
    await follower.getFlagDefinitions()
  }
  /** Bytes and scripts for one of `times`, by whoever is behind the proxy. */
  const measure = async (times, action) => {
    proxy.take()
    await client.config('RESETSTAT')
    for (let n = 0; n < times; n += 1) await action(n)
    const { sent, received } = proxy.take()
    const [, calls, usec] = /cmdstat_evalsha:calls=(\d+),usec=(\d+)/.exec(await client.info('commandstats'))
    return { sent: sent / times, received: received / times, calls: calls / times, usec: usec / times }
  }
  const first = await measure(1, poll)
  const unchanged = await measure(POLLS, poll)
  const edited = edit(set, 1)
  await sleep(INTERVAL_MS)
  await fetchAs(leader, edited)
  const changed = await measure(1, poll)
  await leader.shutdown()
  const last = open(proxy.url, options)
  await last.getFlagDefinitions()
  const confirmed = await measure(POLLS, async () => {
    await sleep(INTERVAL_MS)
    await fetchAs(last, edited, 304)
  })
  const connections = (await client.call('CLIENT', 'LIST', 'TYPE', 'pubsub')).trim().split('\n')
  const perConnection = Math.max(...connections.map((line) => Number(/tot-mem=(\d+)/.exec(line)[1])))
  await Promise.all([follower.shutdown(), last.shutdown()])
  await proxy.close()
  await redis.stop()
  return { first, unchanged, changed, confirmed, perConnection }
}

const [memory, states, patched] = [[], [], []]
for (const [name, bytes] of Object.entries(SIZES)) {
  progress(name)
  const [auto, none] = [await memoryOf(bytes, 'auto'), await memoryOf(bytes, 'none')]
  const flags = auto.flags.toLocaleString('en-US')
  memory.push([`${name}, ${flags} flags`, ...[auto.definitions, auto.atMost, none.definitions, none.atMost].map(size)])
  states.push(auto.state)
  if (auto.stateWithPatch > auto.state) patched.push(auto.stateWithPatch)
}
progress('polls')
const { first, unchanged, changed, confirmed, perConnection } = await polls()
const row = (title, { sent, received, calls }) => [title, size(sent), size(received), String(Number(calls.toFixed(1)))]

const note = `${machine([])}.`
const memoryTable = markdown(
  [
    [
      'JSON',
      'definitions (default)',
      'server at most (default)',
      "definitions, `compression: 'none'`",
      "server at most, `compression: 'none'`",
    ],
    ...memory,
  ],
  1,
)
const pollTable = markdown(
  [
    ['call', 'to Redis', 'from Redis', 'scripts'],
    row('poll, nothing changed', unchanged),
    row('poll, one flag edited', changed),
    row('poll of the leader, 304', confirmed),
    row('first read of a process, including the connection', first),
  ],
  1,
)
const state = `The state takes ${size(Math.max(...states))}. With a patch, it takes up to ${size(Math.max(...patched))}.`
const connection = `A connection takes ${size(perConnection)} of the server's memory. A script that finds no change takes ${Math.round(unchanged.usec / unchanged.calls)} µs of the server's time.`
console.log([memoryTable, state, pollTable, connection, note].join('\n\n'))
if (args.write) {
  writeDocs(DOCUMENT, {
    'bench:memory': `\n${memoryTable}\n\n${state} ${note}\n`,
    'bench:polls': `\n${pollTable}\n\nWith ${POLLED} of definitions. ${connection}\n${note}\n`,
  })
}
