// What the cache costs the main thread: ratios within one run, never absolute times.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { performance } from 'node:perf_hooks'
import { after, before, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'

import { definitions } from '../../dev/harness/definitions.mjs'
import { openCache, standIn } from '../support/client.mjs'
import { startSharing } from '../support/shared.mjs'
import { newProjectKey, STORES } from '../support/stores.mjs'

const { NativeText } = createRequire(import.meta.url)('../../native.js')

const FLAGS = 2_500
/** The fewest of so many: what the work takes when nothing else disturbs it. */
const ROUNDS = 15

let store
before(async () => (store = await STORES.redis()))
after(() => store.close())

/** How long the main thread was busy, in milliseconds, until `work` was done. */
async function busy(work) {
  await turn()
  const from = performance.eventLoopUtilization()
  await work()
  return performance.eventLoopUtilization(from).active
}

async function fewest(measure) {
  const times = []
  for (let round = 0; round < ROUNDS; round += 1) times.push(await measure(round))
  return Math.min(...times)
}

/** Definitions of more than 5 MB: flags with as many conditions as long-lived ones have. */
function manyFlags() {
  const data = definitions({ version: 'v0', flags: FLAGS })
  const group = (flag) => ({
    ...data.flags[flag % 5].filters.groups[0],
    properties: data.flags.slice(1, 9).flatMap((flag) => flag.filters.groups[0].properties),
  })
  data.flags = data.flags.map((flag, id) => ({ ...flag, filters: { ...flag.filters, groups: [group(id), group(id + 1), group(id + 2)] } }))
  return data
}

/** A leader that publishes `edit`ed definitions, a follower elsewhere, and what parsing the whole takes. */
async function fleet(t) {
  const options = { projectKey: newProjectKey(), url: store.url, refreshIntervalMs: 60_000 }
  const leader = openCache(t, options)
  assert.equal(await leader.shouldFetchFlagDefinitions(), true)
  let data = manyFlags()
  await leader.onFlagDefinitionsReceived(data)
  const follower = openCache(t, { ...options, role: 'reader', maxAgeMs: 3_600_000 })
  await follower.getFlagDefinitions()
  return {
    options,
    leader,
    follower,
    text: JSON.stringify(data),
    edit(round) {
      const flags = data.flags.with((round * 163) % FLAGS, { ...data.flags[0], key: `edited-${round}` })
      data = { ...data, flags }
      return data
    },
  }
}

/** Counts the turns of the event loop. */
function countTurns() {
  const loop = { turns: 0, end: () => (loop.hasEnded = true) }
  const count = () => {
    loop.turns += 1
    if (!loop.hasEnded) setImmediate(count)
  }
  count()
  return loop
}

/** How much text is parsed while `work` is done, in characters. */
async function parsed(t, work) {
  const { mock } = t.mock.method(JSON, 'parse')
  try {
    await work()
    return mock.calls.reduce((sum, { arguments: [text] }) => sum + text.length, 0)
  } finally {
    mock.restore()
  }
}

// `npm run bench` measures by how much; here the rest of the machine is busy too.
test('one changed flag of 2,500 costs a small part of parsing all of them', async (t) => {
  const { leader, follower, edit, text } = await fleet(t)
  const whole = await fewest(() => busy(async () => JSON.parse(text)))
  const changed = await fewest(async (round) => {
    const data = edit(round)
    await leader.onFlagDefinitionsReceived(data)
    let found
    const time = await busy(async () => (found = await follower.getFlagDefinitions()))
    assert.deepEqual(found.flags, data.flags)
    return time
  })
  t.diagnostic(`${text.length} characters: JSON.parse ${whole.toFixed(1)} ms, one changed flag ${changed.toFixed(3)} ms`)
  assert.ok(whole / changed >= 25, `${whole} ms against ${changed} ms`)

  await leader.onFlagDefinitionsReceived(edit(ROUNDS))
  const characters = await parsed(t, () => follower.getFlagDefinitions())
  assert.ok(characters > 0 && characters * 500 < text.length, `${characters} of ${text.length} characters parsed`)
})

test('a first read parses slices, and the event loop runs between them', async (t) => {
  const { options, text } = await fleet(t)
  const slices = []
  const loop = countTurns()
  const { parse } = JSON
  t.mock.method(JSON, 'parse', (slice) => {
    slices.push({ characters: slice.length, turn: loop.turns })
    return parse(slice)
  })
  const found = await openCache(t, { ...options, role: 'reader' }).getFlagDefinitions()
  loop.end()
  t.mock.restoreAll()
  assert.deepEqual(found, JSON.parse(text))
  const large = slices.filter(({ characters }) => characters > 50_000)
  assert.ok(large.length > 40, `${large.length} slices`)
  assert.ok(large.every(({ characters }) => characters <= 96 * 1024))
  assert.equal(new Set(large.map(({ turn }) => turn)).size, large.length, 'a turn of the event loop for each')
})

test('with the shared fetch the leader parses only what changed, and does not call JSON.stringify', async (t) => {
  const api = await standIn(t, { flags: FLAGS })
  const { ready, fetch, evaluate } = startSharing(t, { api, url: store.url, refreshIntervalMs: 100 })
  await ready()
  api.edit((data) => (data.flags[FLAGS / 2].filters.groups[0].rollout_percentage = 42))
  const written = t.mock.method(JSON, 'stringify').mock
  const characters = await parsed(t, fetch)
  const definitions = written.calls.filter(({ arguments: [value] }) => value?.flags ?? value?.cohorts)
  t.mock.restoreAll()
  assert.equal(await evaluate(), 'v2')
  assert.equal(api.count(200), 2)
  assert.ok(characters > 0 && characters * 100 < api.text.length, `${characters} of ${api.text.length} characters parsed`)
  assert.deepEqual(definitions, [])
})

test('the result of JSON.stringify is passed on in parts, and the event loop runs between them', async (t) => {
  const { leader, edit, text } = await fleet(t)
  const { prototype } = NativeText
  const parts = []
  const { pushString } = prototype
  const loop = countTurns()
  t.mock.method(prototype, 'pushString', function (part) {
    parts.push({ characters: part.length, turn: loop.turns })
    return pushString.call(this, part)
  })
  await leader.onFlagDefinitionsReceived(edit(1))
  loop.end()
  assert.ok(parts.length > text.length / 2 ** 17 - 1)
  assert.ok(parts.every(({ characters }) => characters <= 2 ** 17))
  assert.equal(new Set(parts.map(({ turn }) => turn)).size, parts.length, 'a turn of the event loop for each')
})

test('unchanged definitions cost the same, however large they are, and are not transferred', async (t) => {
  const { follower, text } = await fleet(t)
  const sent = async () => Number(/total_net_output_bytes:(\d+)/.exec(await store.client.info('stats'))[1])
  const received = async () => Number(/total_net_input_bytes:(\d+)/.exec(await store.client.info('stats'))[1])
  const held = await follower.getFlagDefinitions()
  const whole = await fewest(() => busy(async () => JSON.parse(text)))
  const unchanged = await fewest(() => busy(async () => assert.equal(await follower.getFlagDefinitions(), held)))
  t.diagnostic(`JSON.parse ${whole.toFixed(1)} ms, unchanged ${unchanged.toFixed(3)} ms`)
  assert.ok(whole / unchanged >= 50, `${whole} ms against ${unchanged} ms`)

  // What asking for the statistics takes itself.
  const asking = [await sent(), await received(), await sent(), await received()]
  const before = [await sent(), await received()]
  await follower.getFlagDefinitions()
  const [out, into] = [(await sent()) - before[0], (await received()) - before[1]]
  const overhead = [asking[2] - asking[0], asking[3] - asking[1]]
  assert.ok(out - overhead[0] + into - overhead[1] < 1_024, `${out} and ${into} bytes`)
})
