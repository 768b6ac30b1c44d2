// What a process counts as billed and as saved, held against the bill of a stand-in for PostHog.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { beforeEach, describe, test } from 'node:test'

import { PostHog } from 'posthog-node'

import { sleep } from '../../dev/harness/clock.mjs'
import { elsewhere, standIn, startClient } from '../support/client.mjs'
import { startSharing } from '../support/shared.mjs'
import { closedPort, STORES } from '../support/stores.mjs'

const { Bill } = createRequire(import.meta.url)('../../lib/bill.js')

const INTERVAL_MS = 100
const ANSWERS = [200, 304, 401, 429, 500, 'truncated', 'html', 'not-flags']

beforeEach((t) => t.mock.method(console, 'warn', () => {}))

async function storeFor(t, kind) {
  const store = await STORES[kind]()
  t.after(() => store.close())
  return store
}

const sum = (clients, name) => clients.reduce((total, { cache }) => total + cache.status().counters[name], 0)

/** A client of posthog-node without a cache, which loads when it is told to. */
function startAlone(t, api) {
  const { projectKey, secretKey, url: host } = api
  const client = new PostHog(projectKey, { host, secretKey, featureFlagsPollingInterval: 3_600_000 })
  t.after(() => client.shutdown())
  return client
}

for (const [how, start] of [
  ['through flagCache.fetch', startSharing],
  ['without flagCache.fetch', startClient],
]) {
  describe(`requests ${how}`, () => {
    for (const answer of ANSWERS) {
      test(`are counted as PostHog bills them: ${answer}`, async (t) => {
        const { url } = await storeFor(t, 'memory')
        const api = await standIn(t)
        const client = start(t, { api, url, refreshIntervalMs: INTERVAL_MS })
        await client.load()
        assert.deepEqual([client.cache.status().counters.requestsBilled, api.bill], [10, 10])
        if (answer === 200) api.edit()
        else if (answer !== 304) api.next(answer)
        while (api.calls.length < 2) {
          await sleep(INTERVAL_MS)
          await client.load()
        }
        assert.equal(api.count(answer, 1), typeof answer === 'number' ? 1 : 0)
        assert.equal(client.cache.status().counters.requestsBilled, api.bill)
      })
    }

    test('of a client that was told not to fetch are counted', async (t) => {
      const { url } = await storeFor(t, 'memory')
      const api = await standIn(t)
      const client = start(t, { api, url, role: 'reader', coldStartWaitMs: 0 })
      await client.load()
      assert.equal(await client.evaluate(), 'v1')
      assert.deepEqual([client.cache.status().counters.requestsBilled, api.bill], [10, 10])
    })

    test('of two clients at the same time are counted once', async (t) => {
      const api = await standIn(t)
      const url = `redis://127.0.0.1:${await closedPort()}`
      const clients = [1, 2].map(() => start(t, { api, url }))
      await Promise.all(clients.map(({ load }) => load()))
      assert.equal(api.bill, 20)
      assert.equal(sum(clients, 'requestsBilled'), 20)
    })

    test('billed and saved add up to the bill of the same clients without a cache', async (t) => {
      const { url } = await storeFor(t, 'redis')
      const [api, other] = [await standIn(t), await standIn(t)]
      // Without a change of the leader, which costs 10 without `flagCache.fetch`.
      const options = { api, url, refreshIntervalMs: INTERVAL_MS, leaseTtlMs: 60_000, coldStartWaitMs: 10_000 }
      const fleet = [1, 2, 3].map(() => start(t, { ...options, ...elsewhere() }))
      const alone = startAlone(t, other)
      const saved = []
      const step = async () => {
        // Longer than an interval: a poll that begins late must not make the next one count as early.
        await sleep(1.5 * INTERVAL_MS)
        await Promise.all([alone.reloadFeatureFlags(), ...fleet.map(({ load }) => load())])
        saved.push(sum(fleet, 'requestsSaved'))
        assert.equal(sum(fleet, 'requestsBilled'), api.bill)
      }
      for (let n = 0; n < 12; n += 1) {
        await step()
        if (n === 3 || n === 7) for (const each of [api, other]) each.edit()
      }
      assert.ok(other.bill >= 30, 'two edits were seen')
      assert.equal(saved.at(-1), fleet.length * other.bill - api.bill)
      assert.deepEqual(
        saved.toSorted((a, b) => a - b),
        saved,
        'it never decreases',
      )
    })
  })
}

describe('saved', () => {
  test('is 10 for a process that starts with a warm cache, and 0 for reloads within an interval', async (t) => {
    const { url } = await storeFor(t, 'memory')
    const api = await standIn(t)
    const saved = []
    for (let process = 0; process < 2; process += 1) {
      const { cache, load } = startSharing(t, { api, url, refreshIntervalMs: 60_000 })
      for (let n = 0; n < 5; n += 1) await load()
      saved.push(cache.status().counters.requestsSaved)
    }
    assert.deepEqual([saved, api.bill], [[0, 10], 10])
  })

  test('is 0 for a single process', async (t) => {
    const { url } = await storeFor(t, 'memory')
    const api = await standIn(t)
    const { cache, load } = startSharing(t, { api, url, refreshIntervalMs: INTERVAL_MS })
    for (let n = 0; n < 6; n += 1) {
      await load()
      if (n === 2) api.edit()
      if (n === 4) {
        // Somebody else looks while a request is under way.
        const release = api.hold()
        await sleep(INTERVAL_MS)
        const [loaded] = [load(), await api.nextRequest()]
        await cache.getFlagDefinitions()
        release()
        await loaded
      }
      await sleep(INTERVAL_MS)
    }
    assert.deepEqual([cache.status().counters.requestsSaved, api.bill], [0, 25])
  })

  test('never decreases, and grows again only after the difference is made up', (t) => {
    let now = 0
    t.mock.method(performance, 'now', () => now)
    const bill = new Bill(1_000, () => false)
    let held
    const poll = (version) => {
      bill.polls(held)
      bill.settles(version)
      held = version
      now += 1_000
      return bill.saved
    }
    assert.deepEqual(['a', 'a', 'b', 'b'].map(poll), [10, 11, 21, 22])
    bill.answered(200)
    for (let n = 0; n < 10; n += 1) assert.equal(poll('b'), 22)
    assert.equal(poll('b'), 23)
  })

  test('is 0 while PostHog is down, and 0 for a client without a key', async (t) => {
    const { url } = await storeFor(t, 'memory')
    const api = await standIn(t)
    const options = { api, url, refreshIntervalMs: INTERVAL_MS, leaseTtlMs: 60_000 }
    const fleet = [1, 2].map(() => startSharing(t, options))
    const keyless = startSharing(t, { ...options, posthogOptions: { secretKey: undefined } })
    const step = async () => {
      await sleep(INTERVAL_MS)
      for (const { load } of [...fleet, keyless]) await load()
    }
    for (let n = 0; n < 3; n += 1) await step()
    assert.ok(sum(fleet, 'requestsSaved') >= 10)
    api.always(503)
    // Until each of them knows.
    for (let n = 0; n < 3; n += 1) await step()
    const saved = sum(fleet, 'requestsSaved')
    for (let n = 0; n < 5; n += 1) await step()
    assert.equal(sum(fleet, 'requestsSaved'), saved)
    assert.ok(await keyless.evaluate())
    assert.equal(sum([keyless], 'requestsSaved'), 0)
  })
})
