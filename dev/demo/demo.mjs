// `npm run demo`: the same fleet with the cache and without it, really run, and the two bills. In its second scene workers in Python
// and an edge function join, which use the cache through a relay.
// node dev/demo/demo.mjs [--redis URL]      the embedded store without --redis

import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

import { now, sleep } from '../harness/clock.mjs'
import { DemoScreen } from './screen.mjs'
import { install, startRelay, Visitors } from './visitors.mjs'
import { Fleet } from '../harness/fleet.mjs'
import { floorOf } from '../bench/floor.mjs'
import { BILLED, startPostHogApi } from '../harness/posthog-api.mjs'
import { dataKey, OURS, oursIsBuilt } from '../harness/providers.mjs'

const PROCESSES = 8
const POLL_MS = 1_000
const API_DELAY_MS = 150
const STEADY_MS = 8_000
const DEPLOY_PAUSE_MS = 600
const REDRAW_MS = 100
const PHASES = ['cold start', 'steady', 'edit', 'webhook', 'crash', 'deploy', 'relay']
const RELAY_STEADY_MS = 5_000

const { values: args } = parseArgs({ options: { redis: { type: 'string' }, help: { type: 'boolean', short: 'h' } } })
if (args.help) {
  console.log('npm run demo [-- --redis redis://127.0.0.1:6379]')
  process.exit(0)
}
const { built, reason } = oursIsBuilt()
if (!built) {
  console.error(`The package is not built yet: run "npm run build" first.\n${reason}`)
  process.exit(2)
}
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(128 + constants.signals[signal]))

if (args.redis) await reachable(args.redis)
const missing = install()

const projectKey = `phc_demo_${randomBytes(4).toString('hex')}`
const directory = mkdtempSync(join(tmpdir(), 'posthog-flag-cache-demo-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))

const url = args.redis ?? pathToFileURL(directory).href
const cached = await side('with posthog-flag-cache', OURS, { url })
const alone = await side('without', 'none')
const sides = [cached, alone]
const both = (action) => Promise.all(sides.map(action))

const screen = new DemoScreen()
const startedAt = now()
const seconds = () => (now() - startedAt) / 1000
const say = (text) => screen.event(seconds(), text)
const where = args.redis ? 'on Redis' : 'on the embedded store'
const title = `${PROCESSES} processes ${where}, one poll a second (PostHog's default: 30 s)`
let current = -1

// Only for the screen, so it must not keep a failed demo alive.
const redraw = setInterval(draw, REDRAW_MS).unref()

async function reachable(url) {
  const { Redis } = await import('ioredis')
  const redis = new Redis(url, { lazyConnect: true, connectTimeout: 2_000, retryStrategy: () => null })
  let cause
  redis.on('error', (error) => (cause = error))
  try {
    await redis.connect()
    await redis.ping()
  } catch (error) {
    // Not the URL: it may hold a password.
    console.error(`Redis at ${redis.options.host}:${redis.options.port} does not answer: ${(cause ?? error).message}`)
    process.exit(2)
  } finally {
    redis.disconnect()
  }
}

/** What posthog-node reported in the cached fleet, each kind of error once. */
function reports() {
  const counts = new Map()
  for (const { message } of cached.fleet.errors) counts.set(message, (counts.get(message) ?? 0) + 1)
  return [...counts].map(([message, count]) => `  posthog-node reported ${count} ×: ${message}`)
}

async function side(title, kind, options) {
  const api = await startPostHogApi({ delayMs: API_DELAY_MS, projectKey })
  const fleet = new Fleet({ api, kind, options, pollingIntervalMs: POLL_MS, sharedEtag: true, push: true })
  return { title, api, fleet, shared: kind === OURS, latest: () => api.version }
}

function draw() {
  screen.draw({ title, phases: PHASES, current, seconds: seconds(), sides, slots: PROCESSES })
}

function phase(name) {
  current = PHASES.indexOf(name)
  if (!screen.live) screen.write(`\n${name}`)
}

const ms = (duration) => `${Math.round(duration)} ms`
const bills = () => `bill ${cached.api.bill}, without ${alone.api.bill}`

/** Publishes an edit on both sides, and tells how soon every process evaluates it. `told`: what happens besides. */
async function edit(told = () => {}) {
  const [version] = await both(({ api }) => api.edit())
  say(`an edit in PostHog: ${version}`)
  const everywhere = both(({ fleet }) => fleet.everyone({ version }))
  await told()
  const [ours, theirs] = await everywhere
  say(`all have ${version} after ${ms(ours.tookMs)}, ${ms(ours.spreadMs)} after the first of them`)
  say(`without: after ${ms(theirs.tookMs)}, ${ms(theirs.spreadMs)} after the first`)
}

async function coldStart() {
  phase('cold start')
  say(`starting ${PROCESSES} posthog-node processes, and ${PROCESSES} more without the cache`)
  cached.fleet.once('begin', () => say('they create their clients, all at the same moment'))
  await both(({ fleet }) => fleet.start(PROCESSES, { together: true }))
  say(`all have flags: ${cached.api.count(200)} full fetch, without ${alone.api.count(200)}; ${bills()}`)
}

async function steady() {
  phase('steady')
  say('nothing changes in PostHog')
  await sleep(STEADY_MS)
  say(`${STEADY_MS / 1000} s later: ${bills()}`)
}

async function anEdit() {
  phase('edit')
  await edit()
  await sleep(POLL_MS)
}

async function webhook() {
  phase('webhook')
  const [worker] = cached.fleet.workers
  await edit(async () => {
    await worker.call('invalidate')
    await worker.reload()
    say(`a webhook told ${worker.id}: invalidate(), reloadFeatureFlags()`)
  })
  await sleep(POLL_MS)
}

/** The one whose turn it is to call PostHog, by its own `status()`. */
async function leaderOf(fleet) {
  for (;;) {
    const statuses = await Promise.all(fleet.workers.map((worker) => worker.status()))
    const leader = statuses.find(({ provider }) => provider.isLeader)
    if (leader) return fleet.worker(leader.id)
    await sleep(REDRAW_MS)
  }
}

async function killLeader() {
  phase('crash')
  const leader = await leaderOf(cached.fleet)
  const twin = alone.fleet.workers.find((worker) => worker.slot === leader.slot)
  say(`SIGKILL to ${leader.id}, which calls PostHog for all (without: ${twin.id})`)
  const takeover = cached.api.nextCall((call) => call.worker !== leader.id)
  await Promise.all([leader.kill(), twin.kill()])
  await edit()
  say(`${(await takeover).worker} has taken over; ${leader.id} is started again`)
  const before = sides.map(({ api }) => api.calls.length)
  const fresh = await both(async ({ fleet }) => (await fleet.start(1))[0])
  const [ours, theirs] = sides.map(
    ({ api }, index) => api.calls.slice(before[index]).filter((call) => call.worker === fresh[index].id).length,
  )
  say(`the new process has flags after ${ms(fresh[0].readyAfterMs)} and ${ours} calls (without: ${theirs})`)
}

async function deploy() {
  phase('deploy')
  say(`a rolling deploy replaces all ${PROCESSES} processes, one by one`)
  const before = sides.map(({ api }) => api.bill)
  await both(({ fleet }) => fleet.deploy({ pace: () => sleep(DEPLOY_PAUSE_MS) }))
  const [ours, theirs] = sides.map(({ api }, index) => api.bill - before[index])
  say(`deployed: it cost ${ours} flag requests (without: ${theirs})`)
  await both(({ api, fleet }) => fleet.everyone({ version: api.version }))
}

async function otherSdks() {
  phase('relay')
  if (missing) return say(`skipped: ${missing}`)
  const relay = await startRelay({ api: cached.api, url, pollMs: POLL_MS })
  const before = sides.map(({ api }) => api.bill)
  const since = () => sides.map(({ api }, index) => api.bill - before[index])
  say('two workers in Python and an edge function join; they poll a relay (without: PostHog)')
  const hosts = [relay.host, alone.api.url]
  await Promise.all(
    sides.map(async (side, index) => (side.visitors = await Visitors.start({ host: hosts[index], api: side.api, pollMs: POLL_MS }))),
  )
  say(`all have flags; since they joined: bill +${since().join(', without +')}`)
  const [version] = await both(({ api }) => api.edit())
  say(`an edit in PostHog: ${version}`)
  const [ours, theirs] = await both(async ({ fleet, visitors }) => {
    const [tookMs] = await Promise.all([visitors.everyone(version), fleet.everyone({ version })])
    return tookMs
  })
  say(`Python and edge have it after ${ms(ours)} (without: ${ms(theirs)})`)
  await sleep(RELAY_STEADY_MS)
  say(`${RELAY_STEADY_MS / 1000} s later: since they joined, bill +${since().join(', without +')}`)
  await both(({ visitors }) => visitors.close())
  await relay.close()
}

function verdict() {
  const { api, fleet } = cached
  const floor = floorOf({ calls: api.calls, intervalMs: POLL_MS, until: endedAt })
  const row = (label, ...cells) =>
    `  ${label.padEnd(24)}${cells.map((cell, index) => String(cell).padStart([9, 13, 13, 17][index])).join('')}`
  screen.write()
  screen.write(screen.paint('bold', row('the bill', 'calls', '200 (× 10)', '304 (× 1)', 'flag requests')))
  for (const { title, api } of sides) {
    const [full, unchanged] = [api.count(200), api.count(304)]
    screen.write(row(title, full + unchanged, full, unchanged, api.bill))
  }
  screen.write()
  const term = (text, amount) => `  ${text.padEnd(63)}${String(amount).padStart(13)}`
  screen.write(term(`${floor.versions} versions, each fetched once (× ${BILLED[200]})`, floor.versions * BILLED[200]))
  screen.write(term(`${floor.unchanged} polls that found nothing new (× ${BILLED[304]})`, floor.unchanged * BILLED[304]))
  screen.write(screen.paint('bold', term(`the floor, in at most ${floor.atMost} calls`, floor.bill)))
  screen.write()
  for (const call of floor.surplus) {
    screen.write(
      `  Not needed: call ${call.n + 1}, by ${call.worker}, ${((call.at - startedAt) / 1000).toFixed(1)} s after the start, billed ${call.billed}.`,
    )
  }
  const { errors } = fleet
  for (const line of reports()) screen.write(line)
  const good = floor.atFloor && errors.length === 0
  const saved = Math.round(100 * (1 - api.bill / alone.api.bill))
  screen.write(
    good
      ? screen.paint('green', `  At the floor: ${saved} % less than without the cache.`)
      : screen.paint('red', `  Not at the floor: ${floor.paid} flag requests in ${floor.calls} calls.`),
  )
  screen.write()
  return good
}

async function removeKeys() {
  if (!args.redis) return
  const { Redis } = await import('ioredis')
  const redis = new Redis(args.redis)
  const key = dataKey(OURS, projectKey)
  await redis.del(key, `${key}:state`).finally(() => redis.disconnect())
}

if (!screen.live) screen.write(title)
let endedAt
try {
  await coldStart()
  await steady()
  await anEdit()
  await webhook()
  await killLeader()
  await deploy()
  await otherSdks()
  current = PHASES.length
  clearInterval(redraw)
  draw()
  await both(({ fleet }) => fleet.shutdown())
  endedAt = now()
  process.exitCode = verdict() ? 0 : 1
  await removeKeys()
} catch (error) {
  clearInterval(redraw)
  draw()
  console.error(`\n  The demo failed: ${error.message}`)
  for (const line of reports()) console.error(line)
  process.exit(1)
}
await both(({ api }) => api.close())
