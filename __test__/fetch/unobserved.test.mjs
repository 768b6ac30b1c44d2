// Requests that do not pass through `flagCache.fetch`: the fleet learns how they end from Node.js's own fetch.

import assert from 'node:assert/strict'
import { channel } from 'node:diagnostics_channel'
import { after, before, beforeEach, describe, test } from 'node:test'

import { now, sleep } from '../../dev/harness/clock.mjs'
import { openCache, standIn, startClient } from '../support/client.mjs'
import { startSharing } from '../support/shared.mjs'
import { closedPort, STORES } from '../support/stores.mjs'

const INTERVAL_MS = 60_000

/** `isKnownLater`: when the process polls again. */
const FAILURES = {
  500: { answer: 500, why: /PostHog answered 500/ },
  401: { answer: 401, why: /PostHog answered 401/ },
  '429 with Retry-After': { answer: 429, retryAfter: 120, pauses: true, why: /PostHog answered 429/ },
  402: { answer: 402, pauses: true, why: /PostHog answered 402/ },
  'no answer in time': { answer: 'silence', posthogOptions: { requestTimeout: 200 }, why: /abort/i },
  'a connection cut halfway': { answer: 'cut', why: /closed/ },
  'a closed port': { isClosed: true, why: /ECONNREFUSED/ },
  HTML: { answer: 'html', isKnownLater: true, why: /has no definitions/ },
  'a redirect to a page': { answer: 302, location: '/login', isKnownLater: true, why: /has no definitions/ },
  'a redirect to nowhere': { answer: 302, location: 'http://127.0.0.1:1/', isKnownLater: true, why: /has no definitions/ },
}

let store
before(async () => (store = await STORES.redis()))
after(() => store.close())
beforeEach((t) => t.mock.method(console, 'warn', () => {}))

const listens = () => ['headers', 'error'].some((event) => channel(`undici:request:${event}`).hasSubscribers)

for (const [what, { answer, retryAfter, isClosed, posthogOptions, isKnownLater, pauses, location, why }] of Object.entries(FAILURES)) {
  test(`after ${what} the leader leaves the next fetch to another process`, async (t) => {
    const api = await standIn(t)
    const closed = `http://127.0.0.1:${await closedPort()}`
    let fails = false
    const fetch = (url, options) => {
      if (!fails || !isClosed) return globalThis.fetch(url, options)
      fails = false
      return globalThis.fetch(url.replace(api.url, closed), options)
    }
    const leader = startClient(t, { api, url: store.url, refreshIntervalMs: INTERVAL_MS, posthogOptions: { fetch, ...posthogOptions } })
    await leader.load()
    assert.equal(await leader.evaluate(), 'v1')
    api.edit()
    if (isClosed) fails = true
    else api.next(answer, { retryAfter, location })
    await leader.cache.invalidate()
    await leader.load()
    assert.equal(listens(), isKnownLater === true)
    await leader.load()
    const { isLeader, failedFetches } = leader.cache.status()
    assert.deepEqual([isLeader, failedFetches], [false, 1])
    assert.deepEqual(
      leader.troubles.map(({ code }) => code),
      ['ERR_FLAG_CACHE_API'],
    )
    assert.match(leader.troubles[0].message, why)

    const other = startClient(t, { api, url: store.url, refreshIntervalMs: INTERVAL_MS })
    await other.load()
    assert.equal(await other.evaluate(), pauses ? 'v1' : 'v2')
    await leader.load()
    assert.equal(await leader.evaluate(), pauses ? 'v1' : 'v2')
  })
}

test('with an empty cache another process fetches as soon as the first one has failed', async (t) => {
  const api = await standIn(t)
  api.next(500)
  const first = startClient(t, { api, url: store.url, refreshIntervalMs: INTERVAL_MS, coldStartWaitMs: 30_000 })
  const second = startClient(t, { api, url: store.url, refreshIntervalMs: INTERVAL_MS, coldStartWaitMs: 30_000 })
  await second.ready()
  await first.load()
  assert.equal(await first.evaluate(), 'v1')
  assert.equal(api.count(200), 1)
})

test('a process that was refused before it had definitions takes those of the others', async (t) => {
  const api = await standIn(t)
  api.next(401)
  const options = { api, url: store.url, refreshIntervalMs: INTERVAL_MS }
  const refused = startClient(t, options)
  await refused.load()
  const other = startClient(t, options)
  await other.ready()
  api.always(401)
  await refused.load()
  assert.equal(await refused.evaluate(), 'v1')
})

test('after a 304 the store has what that client received, although it had something else', async (t) => {
  const api = await standIn(t)
  // The first one is to see v2 before its turn to fetch comes again.
  const options = { api, url: store.url, refreshIntervalMs: 1_000 }
  const loadsUntil = async ({ load, evaluate }, version) => {
    const givenUpAt = now() + 20_000
    for (await load(); (await evaluate()) !== version && now() < givenUpAt; await load()) await sleep(20)
    assert.equal(await evaluate(), version)
  }
  const first = startClient(t, options)
  await first.ready()
  const second = startClient(t, options)
  await second.ready()
  api.edit()
  await loadsUntil(second, 'v2')
  api.rollback(1)
  await loadsUntil(first, 'v2')
  await loadsUntil(first, 'v1')
  assert.equal(api.calls.at(-1).status, 304)
})

describe('nothing is noted', () => {
  test('of a redirect to the definitions', async (t) => {
    const api = await standIn(t)
    const { cache, load, evaluate, troubles } = startClient(t, { api, url: store.url, refreshIntervalMs: INTERVAL_MS })
    api.next(307, { location: `/api/feature_flag/local_evaluation?token=${api.projectKey}` })
    await load()
    await load()
    assert.equal(await evaluate(), 'v1')
    assert.deepEqual([troubles, cache.status().failedFetches, listens()], [[], 0, false])
  })

  test('of a 304', async (t) => {
    const api = await standIn(t)
    const { cache, load, troubles } = startClient(t, { api, url: store.url, refreshIntervalMs: 100 })
    await load()
    await cache.invalidate()
    await load()
    await load()
    assert.equal(api.count(304), 1)
    assert.deepEqual([troubles, cache.status().failedFetches, listens()], [[], 0, false])
  })

  test('of requests for something else', async (t) => {
    const api = await standIn(t)
    const cache = openCache(t, { projectKey: api.projectKey, url: store.url })
    assert.equal(await cache.shouldFetchFlagDefinitions(), true)
    for (const path of [`/flags/definitions?token=another`, `/decide?token=${api.projectKey}`]) {
      await globalThis.fetch(`${api.url}${path}`).catch(() => {})
    }
    await globalThis.fetch(`${api.url}/flags/definitions?token=${api.projectKey}`, { method: 'POST' })
    assert.deepEqual([cache.status().failedFetches, listens()], [0, true])
    await cache.shutdown()
    assert.equal(listens(), false)
  })

  test('twice, if `flagCache.fetch` has reported it', async (t) => {
    const api = await standIn(t)
    const { cache, load, troubles } = startSharing(t, { api, url: store.url, refreshIntervalMs: INTERVAL_MS })
    api.next(500)
    await load()
    assert.deepEqual([troubles.length, cache.status().failedFetches], [1, 1])
  })

  test('of what a channel says in another form', async (t) => {
    const cache = openCache(t, { projectKey: 'phc_other_form', url: 'memory:' })
    assert.equal(await cache.shouldFetchFlagDefinitions(), true)
    const request = { method: 'GET', origin: 'http://127.0.0.1', path: '/flags/definitions?token=phc_other_form' }
    for (const event of ['headers', 'error']) {
      for (const message of [{}, { request: null }, { request: {} }, { request: { ...request, origin: 'none' } }]) {
        channel(`undici:request:${event}`).publish(message)
      }
    }
    channel('undici:request:headers').publish({ request, response: { statusCode: 500 } })
    await new Promise(setImmediate)
    assert.equal(cache.status().failedFetches, 0)
  })
})
