// `npm run bench:scale`: what a fleet of up to 10,000 workers asks of one Redis, and of PostHog. The workers are real, without Node.js
// (dev/bench/scale.rs), each with its own connection.

import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

import { begin, progress } from './command.mjs'
import { writeDocs } from './docs.mjs'
import { machine } from './machine.mjs'
import { median } from './perf/instruments.mjs'
import { markdown } from './perf/report.mjs'
import { sleep } from '../harness/clock.mjs'
import { startRedis } from '../harness/redis.mjs'

const SIZES = [100, 1_000, 10_000]
const INTERVAL_MS = 10_000
const EDITS = 3
const PROGRAM = fileURLToPath(new URL('../../target/quick/examples/scale', import.meta.url))

const args = begin('npm run bench:scale [-- --write]', {})

/** Redis, and a program with `count` workers. */
async function measure(count) {
  const serverArgs = ['--maxclients', String(count + 100)]
  let redis = await startRedis({ args: serverArgs })
  const program = spawn(PROGRAM, [redis.url, `phc_${randomUUID()}`, String(INTERVAL_MS)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: program.stdout })[Symbol.asyncIterator]()
  const tell = async (command) => {
    program.stdin.write(`${command}\n`)
    return JSON.parse((await lines.next()).value)
  }
  /** Resolves when every worker has the newest version; with what that took. */
  const after = async (action) => {
    const [before, told] = [await used(redis), await tell('status')]
    const at = performance.now()
    await action()
    let now = await tell('status')
    while (now.reached < count) {
      if (performance.now() - at > 120_000) throw new Error(`${now.reached} of ${count} workers after two minutes`)
      await sleep(20)
      now = await tell('status')
    }
    return {
      ...since(before, await used(redis)),
      spreadMs: now.spreadMs,
      calls: now.calls - told.calls,
      failures: now.failures - told.failures,
    }
  }
  /** What happens in two intervals after something that changes no version. */
  const during = async (action) => {
    const told = await tell('status')
    await action()
    await sleep(2 * INTERVAL_MS)
    const now = await tell('status')
    return { calls: now.calls - told.calls, failures: now.failures - told.failures }
  }
  try {
    const cold = await after(() => tell(`start ${count}`))
    progress(`${count} workers started`)
    const edits = []
    for (let n = 0; n < EDITS; n += 1) {
      // Two invalidations within a second count as one.
      await sleep(1_500)
      edits.push(await after(() => tell('edit')))
    }
    progress(`${count} workers, ${EDITS} edits`)
    const before = await used(redis)
    const deploy = await during(() => tell(`deploy ${INTERVAL_MS}`))
    const deployed = { ...deploy, ...since(before, await used(redis)) }
    progress(`${count} workers, a rolling deploy`)
    const flushed = await during(() => redis.client().flushall())
    progress(`${count} workers, FLUSHALL`)
    const { port } = redis
    const restarted = await during(async () => {
      await redis.stop()
      redis = await startRedis({ port, args: serverArgs })
    })
    progress(`${count} workers, restart`)
    return { cold, edits, deployed, flushed, restarted }
  } finally {
    program.kill()
    await redis.stop()
  }
}

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

const since = (before, now) => ({ cpuMs: now.cpuMs - before.cpuMs, scripts: now.scripts - before.scripts })

const ms = (value) => `${Math.round(value)} ms`
const rows = []
for (const count of SIZES) {
  const { cold, edits, deployed, flushed, restarted } = await measure(count)
  const of = (name) => median(edits.map((edit) => edit[name]))
  const each = (value) => `${((value * 1_000) / count).toFixed(1)} µs`
  rows.push(
    [`**${count.toLocaleString('en-US')} workers**`, '', '', '', ''],
    ['cold start', ms(cold.cpuMs), (cold.scripts / count).toFixed(2), ms(cold.spreadMs), String(cold.calls)],
    [
      `edit (${each(of('cpuMs'))} per worker)`,
      ms(of('cpuMs')),
      (of('scripts') / count).toFixed(2),
      ms(of('spreadMs')),
      String(of('calls')),
    ],
    ['rolling deploy and the next two intervals', ms(deployed.cpuMs), (deployed.scripts / count).toFixed(2), '', String(deployed.calls)],
    ['FLUSHALL and the next two intervals', '', '', '', String(flushed.calls)],
    ['restart of Redis and the next two intervals', '', '', '', String(restarted.calls)],
  )
}
const table = markdown(
  [['event', 'CPU time of Redis', 'scripts per worker', 'time from the first worker to the last', 'requests to PostHog'], ...rows],
  1,
)
console.log(table)
if (args.write) writeDocs('docs/performance.md', { 'bench:scale': `\n${table}\n\n${machine([])}.\n` })
process.exit(0)
