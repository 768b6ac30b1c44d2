// `npm run bench:scale`: what a fleet of up to 10,000 workers asks of one Redis, and of PostHog. The workers are real, without Node.js
// (dev/bench/scale.rs), each with its own connection.

import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

import { atLeast, begin, progress, refuse } from './command.mjs'
import { writeDocs } from './docs.mjs'
import { machine } from './machine.mjs'
import { median } from './perf/instruments.mjs'
import { markdown } from './perf/report.mjs'
import { now, sleep } from '../harness/clock.mjs'
import { startRedis } from '../harness/redis.mjs'

const SIZES = [100, 1_000, 10_000]
const INTERVAL_MS = 10_000
const EDITS = 3
/** A process may often open 20,000 descriptors, and a worker needs two. */
const WORKERS_PER_PROGRAM = 2_500
const PROGRAM = fileURLToPath(new URL('../../target/quick/examples/scale', import.meta.url))

const USAGE = 'npm run bench:scale [-- --workers 1000] [-- --write]'
const args = begin(USAGE, { workers: { type: 'string' } })
const sizes = args.workers ? [atLeast(args, 'workers', 1, USAGE)] : SIZES
if (args.write && args.workers) refuse(`--write needs all sizes\n${USAGE}`)

/** Several programs, which together have `count` workers. */
class Fleet {
  #programs

  constructor(url, count) {
    const project = `phc_${randomUUID()}`
    const programs = Math.ceil(count / WORKERS_PER_PROGRAM)
    this.#programs = Array.from({ length: programs }, (_, index) => {
      const child = spawn(PROGRAM, [url, project, String(INTERVAL_MS)], { stdio: ['pipe', 'pipe', 'inherit'] })
      const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
      const share = Math.floor(count / programs) + (index < count % programs ? 1 : 0)
      return { child, answers, share }
    })
  }

  /** Tells each program a command; resolves with what they say together. */
  async tell(command) {
    const said = await Promise.all(
      this.#programs.map(async ({ child, answers, share }) => {
        child.stdin.write(`${command.replace('{share}', share)}\n`)
        return JSON.parse((await answers.next()).value)
      }),
    )
    const sum = (name) => said.reduce((total, one) => total + one[name], 0)
    const began = said.filter(({ reached }) => reached > 0)
    return {
      reached: sum('reached'),
      calls: sum('calls'),
      failures: sum('failures'),
      heard: sum('heard'),
      spreadMs: (Math.max(...began.map(({ last }) => last)) - Math.min(...began.map(({ first }) => first))) * 1_000,
    }
  }

  /** Wakes one worker. */
  reload() {
    this.#programs[0].child.stdin.write('reload\n')
    return this.#programs[0].answers.next()
  }

  stop() {
    for (const { child } of this.#programs) child.kill()
  }
}

const serverArgs = (count) => ['--maxclients', String(2 * count + 100)]

/** Runs `work` with a Redis, and with programs for `count` workers. */
async function withFleet(count, work) {
  const redis = await startRedis({ args: serverArgs(count) })
  const fleet = new Fleet(redis.url, count)
  try {
    return await work(redis, fleet)
  } finally {
    fleet.stop()
    await redis.stop()
  }
}

/** Acts, and waits until `isDone` says so of what the fleet tells; resolves with what that took. */
async function cost(redis, fleet, action, isDone) {
  const [before, told] = [await used(redis), await fleet.tell('status')]
  const at = now()
  await action()
  let tells = await fleet.tell('status')
  while (!isDone(tells, told)) {
    if (now() - at > 120_000) throw new Error(`after two minutes: ${JSON.stringify(tells)}`)
    await sleep(20)
    tells = await fleet.tell('status')
  }
  const after = await used(redis)
  return {
    cpuMs: after.cpuMs - before.cpuMs,
    scripts: after.scripts - before.scripts,
    calls: tells.calls - told.calls,
    failures: tells.failures - told.failures,
    spreadMs: tells.spreadMs,
  }
}

/** A cold start of `count` workers in this time. */
const coldStart = (count, ms) =>
  withFleet(count, (redis, fleet) =>
    cost(
      redis,
      fleet,
      () => fleet.tell(`start {share} ${ms}`),
      ({ reached }) => reached === count,
    ),
  )

/** What else happens to a fleet of `count` workers. */
const events = (count) =>
  withFleet(count, async (redis, fleet) => {
    const haveAll = ({ reached }) => reached === count
    const start = await cost(redis, fleet, () => fleet.tell(`start {share} ${INTERVAL_MS}`), haveAll)
    progress(`${count} workers started`)
    const notice = nextNotice(redis)
    const edits = []
    for (let version = 2; version < 2 + EDITS; version += 1) {
      // Two invalidations within a second count as one.
      await sleep(1_500)
      await fleet.tell(`edit ${version}`)
      edits.push(await cost(redis, fleet, () => fleet.reload(), haveAll))
    }
    progress(`${count} workers, ${EDITS} edits`)
    /** Acts, and waits for two intervals. */
    const during = (action) => {
      const until = now() + 2 * INTERVAL_MS
      return cost(redis, fleet, action, () => now() >= until)
    }
    const deploy = await during(() => fleet.tell(`deploy ${INTERVAL_MS}`))
    progress(`${count} workers, a rolling deploy`)
    const flush = await during(() => redis.client().flushall())
    progress(`${count} workers, FLUSHALL`)
    let again
    const restart = await during(async () => {
      await redis.stop()
      again = await startRedis({ port: redis.port, args: serverArgs(count) })
    })
    await again.stop()
    progress(`${count} workers, restart`)
    return { start, edits, deploy, flush, restart, notice: await notice }
  })

/** The next update notification of this server, as it is on the wire. */
function nextNotice(redis) {
  const client = redis.client()
  return new Promise((resolve) => {
    client.on('pmessageBuffer', (_pattern, _channel, message) => message.length > 0 && resolve(message))
    client.psubscribe('*')
  })
}

/** What it costs to publish this message to `count` connections that only listen. */
const published = (count, message) =>
  withFleet(count, async (redis, fleet) => {
    const client = redis.client()
    await fleet.tell('listen {share}')
    while ((await client.pubsub('NUMSUB', 'bare'))[1] < count) await sleep(20)
    const heardAll = ({ heard }, told) => heard - told.heard >= count * message.length
    const costs = []
    for (let n = 0; n < EDITS; n += 1) {
      await sleep(500)
      costs.push(await cost(redis, fleet, () => client.publish('bare', message), heardAll))
    }
    progress(`${count} connections that only listen, PUBLISH`)
    return costs
  })

/** What the server has spent so far: CPU time and scripts. */
async function used(redis) {
  const client = redis.client()
  const [cpu, stats] = [await client.info('cpu'), await client.info('commandstats')]
  client.disconnect()
  const seconds = (name) => Number(new RegExp(`${name}:([\\d.]+)`).exec(cpu)[1])
  return {
    cpuMs: (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1_000,
    scripts: Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0),
  }
}

const rows = []
for (const count of sizes) {
  const atOnce = await coldStart(count, 0)
  progress(`${count} workers started at once`)
  const { start, edits, deploy, flush, restart, notice } = await events(count)
  const bare = await published(count, notice)
  const ms = (costs, name) => `${Math.round(median(costs.map((one) => one[name])))} ms`
  const row = (event, costs) => {
    const scripts = median(costs.map((one) => one.scripts)) / count
    return [event, ms(costs, 'cpuMs'), scripts.toFixed(2), ms(costs, 'spreadMs'), String(median(costs.map((one) => one.calls)))]
  }
  const interval = `${INTERVAL_MS / 1_000} s`
  rows.push(
    [`**${count.toLocaleString('en-US')} workers**`, '', '', '', ''],
    row('cold start, all at the same moment', [atOnce]),
    row(`cold start within ${interval}`, [start]),
    row('edit', edits),
    ['`PUBLISH` of the same bytes to connections that only listen', ms(bare, 'cpuMs'), '', '', ''],
    [`rolling deploy within ${interval}`, ms([deploy], 'cpuMs'), (deploy.scripts / count).toFixed(2), '', String(deploy.calls)],
    ['FLUSHALL', '', '', '', String(flush.calls)],
    ['restart of Redis', '', '', '', String(restart.calls)],
  )
}
const table = markdown(
  [['event', 'CPU time of Redis', 'scripts per worker', 'time from the first worker to the last', 'requests to PostHog'], ...rows],
  1,
)
console.log(table)
if (args.write) writeDocs('docs/performance.md', { 'bench:scale': `\n${table}\n\n${machine([])}.\n` })
process.exit(0)
