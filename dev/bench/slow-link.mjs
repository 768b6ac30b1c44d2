// `npm run bench:slow-link`: many processes start at once, and load warm definitions over a narrow link that they share.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { begin, progress } from './command.mjs'
import { largeDefinitions } from './large-definitions.mjs'
import { markdown } from './perf/report.mjs'
import { now, sleep } from '../harness/clock.mjs'
import { NETWORK, startFaultProxy } from '../harness/fault-proxy.mjs'
import { Fleet } from '../harness/fleet.mjs'
import { startPostHogApi } from '../harness/posthog-api.mjs'
import { dataKey, OURS } from '../harness/providers.mjs'
import { startRedis } from '../harness/redis.mjs'

const DEFINITION_BYTES = 3_600_000
const POLL_MS = 60_000
const DEFAULT_WAIT_MS = 5_000
const TITLES = [
  'processes',
  'link',
  '`coldStartWaitMs`',
  '`localCopy`',
  'definitions',
  'full fetches',
  'last ready after',
  'bytes ÷ rate',
  'without the cache',
]
const ROWS = [
  { processes: 24, bytesPerSecond: 800_000, coldStartWaitMs: 30_000 },
  { processes: 24, bytesPerSecond: 800_000 },
  { processes: 24, bytesPerSecond: 800_000, localCopy: true },
  { processes: 16, bytesPerSecond: 4_000_000 },
]

begin('npm run bench:slow-link', {})

async function measure({ processes, bytesPerSecond, coldStartWaitMs, localCopy }) {
  const copies = localCopy && mkdtempSync(join(tmpdir(), 'flag-cache-bench-'))
  const [redis, api] = await Promise.all([startRedis(), startPostHogApi()])
  const proxy = await startFaultProxy(redis.port)
  const options = { url: proxy.url, ...(coldStartWaitMs && { coldStartWaitMs }), ...(copies && { localCopy: copies }) }
  const fleet = new Fleet({ api, kind: OURS, options, pollingIntervalMs: POLL_MS, sharedEtag: true })
  try {
    api.edit(addDefinitions)
    // The process that fetched them and has published them.
    await fleet.start(1)
    const bytes = await stored(redis, api.projectKey)
    while (copies && !readdirSync(copies, { recursive: true }).some((name) => name.endsWith('state.json'))) await sleep(20)
    await proxy.break(NETWORK.shared(bytesPerSecond))
    let beganAt
    fleet.once('begin', () => (beganAt = now()))
    const before = api.calls.length
    const fetchedAfter = []
    api.on('request', () => fetchedAfter.push(now() - beganAt))
    const started = await fleet.start(processes, { together: true, timeoutMs: 180_000 })
    return {
      bytes,
      fetches: api.calls.slice(before).filter(({ status }) => status === 200).length,
      early: fetchedAfter.filter((ms) => ms < (coldStartWaitMs ?? DEFAULT_WAIT_MS)).length,
      lastMs: Math.max(...started.map(({ readyAfterMs }) => readyAfterMs)),
    }
  } finally {
    await fleet.destroy()
    await Promise.all([proxy.close(), api.close()])
    await redis.stop()
    if (copies) rmSync(copies, { recursive: true, force: true })
  }
}

/** When the last of so many processes without a provider is ready. They call PostHog's stand-in on this machine, without a slow link. */
async function measureWithout(processes) {
  const api = await startPostHogApi()
  const fleet = new Fleet({ api, kind: 'none', pollingIntervalMs: POLL_MS })
  try {
    api.edit(addDefinitions)
    const started = await fleet.start(processes, { together: true })
    return Math.max(...started.map(({ readyAfterMs }) => readyAfterMs))
  } finally {
    await fleet.destroy()
    await api.close()
  }
}

function addDefinitions(data) {
  const { flags, cohorts } = largeDefinitions({ bytes: DEFINITION_BYTES })
  data.flags.push(...flags)
  Object.assign(data.cohorts, cohorts)
}

/** How many bytes the definitions have in Redis, once they are there. */
async function stored(redis, projectKey) {
  const client = redis.client()
  for (;;) {
    const bytes = await client.strlen(dataKey(OURS, projectKey))
    if (bytes > 0) return bytes
    await sleep(20)
  }
}

const seconds = (ms) => `${(ms / 1_000).toFixed(1)} s`
const rows = []
let isMissed = false
for (const row of ROWS) {
  const { processes, bytesPerSecond, coldStartWaitMs, localCopy } = row
  progress(`${processes} processes, ${bytesPerSecond / 1e6} MB/s`)
  const { bytes, fetches, early, lastMs } = await measure(row)
  const withoutMs = await measureWithout(processes)
  const idealMs = ((processes * bytes) / bytesPerSecond) * 1_000
  // A process that could load within its wait must not fetch, and no process may fetch before its wait is over.
  const allowed = localCopy || idealMs < (coldStartWaitMs ?? DEFAULT_WAIT_MS) ? 0 : processes
  if (early > 0 || fetches > allowed) isMissed = true
  rows.push([
    String(processes),
    `${bytesPerSecond / 1e6} MB/s`,
    seconds(coldStartWaitMs ?? DEFAULT_WAIT_MS),
    localCopy ? 'yes' : 'no',
    `${Math.round(bytes / 1e3)} KB`,
    `${fetches} (${early} before that)`,
    seconds(lastMs),
    seconds(idealMs),
    seconds(withoutMs),
  ])
}
console.log(markdown([TITLES, ...rows], 0))
process.exitCode = isMissed ? 1 : 0
