// What the fleet does when PostHog fails or refuses, and what `flagCache.fetch` does when the store fails.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { sleep } from '../../dev/harness/clock.mjs'
import { openCache, standIn } from '../support/client.mjs'
import { nextUpdate, startSharing } from '../support/shared.mjs'
import { closedPort, STORES } from '../support/stores.mjs'

const INTERVAL_MS = 60_000
/** The rule's slack: how much earlier than the interval a fetch may come. */
const PAUSE_MS = INTERVAL_MS - 1_000
const HOUR_MS = 3_600_000
/** How long ago a pause may have begun when it is looked at. */
const LATE_MS = 30_000

const inSeconds = (seconds) => new Date(Date.now() + seconds * 1_000).toUTCString()

/** What happens, and for how long the whole fleet keeps off PostHog then, if it has definitions. */
const FAILURES = {
  '429 with Retry-After in seconds': { answer: 429, retryAfter: () => 120, pauseMs: 120_000 },
  '429 with Retry-After as a date': { answer: 429, retryAfter: () => inSeconds(120), pauseMs: 120_000 },
  '429 with Retry-After of more than an hour': { answer: 429, retryAfter: () => 86_400, pauseMs: HOUR_MS },
  '429 with Retry-After beyond all numbers': { answer: 429, retryAfter: () => '9'.repeat(400), pauseMs: HOUR_MS },
  '429 with a date of next year': { answer: 429, retryAfter: () => inSeconds(365 * 86_400), pauseMs: HOUR_MS },
  '429 with Retry-After shorter than the interval': { answer: 429, retryAfter: () => 1, pauseMs: PAUSE_MS },
  '429 with a date that is over': { answer: 429, retryAfter: () => inSeconds(-60), pauseMs: PAUSE_MS },
  '429 with an unreadable Retry-After': { answer: 429, retryAfter: () => 'soon', pauseMs: PAUSE_MS },
  '429 without Retry-After': { answer: 429, pauseMs: PAUSE_MS },
  '503 with Retry-After': { answer: 503, retryAfter: () => 120, pauseMs: 120_000 },
  402: { answer: 402, pauseMs: PAUSE_MS },
  500: { answer: 500 },
  404: { answer: 404 },
  401: { answer: 401 },
  403: { answer: 403 },
  'no answer in time': { answer: 'silence', posthogOptions: { requestTimeout: 200 } },
  'JSON that stops halfway': { answer: 'truncated' },
  'a connection cut halfway': { answer: 'cut' },
  HTML: { answer: 'html' },
  'JSON without flags': { answer: 'not-flags' },
  'a closed port': { isClosed: true },
}

let store
before(async () => (store = await STORES.redis()))
after(() => store.close())

/** What another process knows of the pause. */
async function pauseOf(t, api) {
  const other = openCache(t, { projectKey: api.projectKey, url: store.url, refreshIntervalMs: INTERVAL_MS })
  await other.getFlagDefinitions()
  return other.status().retryInMs
}

/** A client whose next request for the definitions fails in that way. */
async function startFailing(t, api, { answer, retryAfter, isClosed, posthogOptions }) {
  t.mock.method(console, 'warn', () => {})
  const closed = isClosed && `http://127.0.0.1:${await closedPort()}`
  let fails = false
  const inner = (url, options) => {
    if (!fails) return globalThis.fetch(url, options)
    fails = false
    if (!isClosed) api.next(answer, { retryAfter: retryAfter?.() })
    return globalThis.fetch(isClosed ? url.replace(api.url, closed) : url, options)
  }
  const client = startSharing(t, { api, url: store.url, refreshIntervalMs: INTERVAL_MS, posthogOptions, inner })
  return { ...client, failNext: () => (fails = true) }
}

for (const [what, failure] of Object.entries(FAILURES)) {
  describe(`after ${what}`, () => {
    test('on an empty cache the next process fetches at once, for all of them', async (t) => {
      const api = await standIn(t)
      const sick = await startFailing(t, api, failure)
      sick.failNext()
      await sick.load()
      assert.equal(await store.stored(api.projectKey), undefined)
      const { definitions, counters, failedFetches } = sick.cache.status()
      assert.deepEqual(
        [definitions, counters.publishes, counters.confirms, counters.errors.ERR_FLAG_CACHE_API, failedFetches],
        [null, 0, 0, 1, 1],
      )
      assert.deepEqual(
        sick.troubles.map(({ code }) => code),
        ['ERR_FLAG_CACHE_API'],
      )
      assert.equal(await pauseOf(t, api), null)

      const broken = api.count(200)
      const healthy = startSharing(t, { api, url: store.url, refreshIntervalMs: INTERVAL_MS })
      await healthy.load()
      assert.equal(await healthy.evaluate(), 'v1')
      await sick.load()
      assert.equal(await sick.evaluate(), 'v1')
      assert.equal(api.count(200) - broken, 1)
      assert.equal(healthy.cache.status().fleetFailedFetches, 0)
    })

    test('of the leader the fleet keeps its definitions, and another process fetches next', async (t) => {
      const api = await standIn(t)
      const leader = await startFailing(t, api, failure)
      await leader.load()
      const other = startSharing(t, { api, url: store.url, refreshIntervalMs: INTERVAL_MS })
      await other.load()
      const [published, calls] = [await store.stored(api.projectKey), api.calls.length]
      api.edit()
      leader.failNext()
      await leader.cache.invalidate()
      await leader.load()
      // posthog-node, too, keeps what it had.
      assert.equal(await leader.evaluate(), 'v1')
      assert.ok((await store.stored(api.projectKey)).equals(published))
      assert.equal(leader.cache.status().isLeader, false)
      const called = api.calls.length
      assert.ok(called - calls <= 1)
      await leader.load()
      assert.equal(api.calls.length, called, 'it leaves the next fetch to others')

      const { pauseMs } = failure
      const seconds = /No process fetches for (\d+) s\.$/.exec(leader.troubles.at(-1).message)?.[1]
      if (pauseMs) assert.ok(Math.abs(seconds - pauseMs / 1_000) <= 2, seconds)
      else assert.match(leader.troubles.at(-1).message, /\. Another process fetches instead, if there is one\.$/)
      const retryInMs = await pauseOf(t, api)
      if (pauseMs) assert.ok(retryInMs <= pauseMs && retryInMs > pauseMs - LATE_MS, `a pause of ${retryInMs} ms`)
      else assert.equal(retryInMs, null)
      await other.load()
      assert.equal(await other.evaluate(), pauseMs ? 'v1' : 'v2')
      assert.equal(api.calls.length - called, pauseMs ? 0 : 1)
    })
  })
}

describe('on an empty cache', () => {
  test('a process whose fetch failed must wait a moment, and the others need not', async (t) => {
    const api = await standIn(t)
    api.next(429, { retryAfter: 120 })
    const options = { api, url: store.url, refreshIntervalMs: INTERVAL_MS, coldStartWaitMs: 0 }
    const first = startSharing(t, options)
    await first.load()
    await first.load()
    assert.equal(first.requests.at(-1).status, 503)
    assert.equal(first.requests.at(-1).response.headers.get('retry-after'), '1')
    assert.equal(api.calls.length, 1)
    const second = startSharing(t, options)
    await second.load()
    assert.equal(await second.evaluate(), 'v1')
  })

  test('Retry-After keeps no process from its flags when PostHog answers again, whichever process got the header', async (t) => {
    const api = await standIn(t)
    api.always(429, { retryAfter: 3_600 })
    const options = { api, url: store.url, refreshIntervalMs: 1_000, coldStartWaitMs: 20 }
    const fleet = Array.from({ length: 4 }, () => startSharing(t, options))
    for (const { load } of fleet) await load()
    assert.ok(fleet[3].cache.status().fleetFailedFetches >= 3)
    const retryInMs = await pauseOf(t, api)
    assert.ok(retryInMs === null || retryInMs <= 1_000, `a pause of ${retryInMs} ms`)
    api.normal()
    while ((await fleet[3].evaluate()) !== 'v1') {
      await sleep(100)
      await fleet[3].load()
    }
    for (const { load, evaluate } of fleet) {
      await load()
      assert.equal(await evaluate(), 'v1')
    }
    assert.equal(api.count(200), 1)
  })
})

describe('a refusal', () => {
  test('does not restore definitions that the fleet has dropped', async (t) => {
    t.mock.method(console, 'warn', () => {})
    const api = await standIn(t)
    const options = { api, url: store.url, refreshIntervalMs: INTERVAL_MS, whenRefused: 'clear' }
    const [first, second] = [startSharing(t, options), startSharing(t, options)]
    await first.load()
    await second.load()
    api.next(401)
    await first.cache.invalidate()
    await first.load()
    api.next(402)
    await second.load()
    await first.load()
    assert.deepEqual([await first.evaluate(), await second.evaluate()], [undefined, undefined])
    assert.equal(first.requests.at(-1).status, 401)
  })

  for (const status of [401, 403]) {
    test(`with ${status} reaches posthog-node as it is, and the listeners of onError()`, async (t) => {
      const api = await standIn(t)
      const responses = []
      const inner = async (...request) => {
        responses.push(await globalThis.fetch(...request))
        return responses.at(-1)
      }
      const { cache, ready, load, requests, errors, troubles, evaluate } = startSharing(t, {
        api,
        inner,
        url: store.url,
        refreshIntervalMs: 100,
      })
      await ready()
      api.next(status)
      await cache.invalidate()
      await load()
      assert.deepEqual(
        requests.map(({ status }) => status),
        [200, status],
      )
      assert.equal(requests.at(-1).response, responses.at(-1))
      assert.equal(errors.length, 1)
      assert.equal(await evaluate(), 'v1')
      assert.deepEqual(
        troubles.map(({ code }) => code),
        ['ERR_FLAG_CACHE_API'],
      )
      assert.match(troubles[0].message, new RegExp(`PostHog answered ${status}`))
    })
  }

  for (const status of [401, 403, 429]) {
    test(`with ${status} does not make posthog-node poll less often than the others: its next request is answered without PostHog`, async (t) => {
      const api = await standIn(t)
      const options = { api, url: store.url, refreshIntervalMs: INTERVAL_MS }
      const refused = startSharing(t, options)
      await refused.load()
      api.next(status)
      await refused.cache.invalidate()
      await refused.load()
      const calls = api.calls.length
      await refused.load()
      await refused.load()
      assert.deepEqual(
        refused.requests.map((request) => request.status),
        [200, status, 200],
      )
      assert.equal(refused.requests[2].response.url, refused.requests[2].url)
      assert.equal(await refused.evaluate(), 'v1')
      assert.equal(api.calls.length, calls)
      assert.equal(refused.cache.status().counters.publishes, 1)
    })
  }

  for (const whenRefused of ['keep', 'clear']) {
    test(`with 402 makes all processes ${whenRefused} their definitions, and each of them reports it`, async (t) => {
      t.mock.method(console, 'warn', () => {})
      const api = await standIn(t)
      const options = { api, url: store.url, refreshIntervalMs: 1_000, whenRefused }
      const fleet = [startSharing(t, options), startSharing(t, options)]
      for (const { load } of fleet) await load()
      api.always(402)
      await fleet[0].cache.invalidate()
      for (const { load } of fleet) await load()
      for (const { evaluate, troubles } of fleet) {
        assert.equal(await evaluate(), whenRefused === 'keep' ? 'v1' : undefined)
        assert.ok(troubles.some(({ code, message }) => code === 'ERR_FLAG_CACHE_API' && message.includes('402')))
      }
      const late = startSharing(t, options)
      const told = new Promise((resolve) => late.cache.onError(resolve))
      await late.load()
      assert.equal(await late.evaluate(), whenRefused === 'keep' ? 'v1' : undefined)
      const { code, message } = await told
      assert.equal(code, 'ERR_FLAG_CACHE_API')
      assert.match(message, /402/)
      assert.ok(await store.stored(api.projectKey))

      api.normal()
      while (api.count(304) === 0) for (const { load } of fleet) await load()
      for (const { load, evaluate } of [...fleet, late]) {
        await load()
        assert.equal(await evaluate(), 'v1')
      }
      assert.equal(api.count(200), 1, 'PostHog is asked whether they have changed')
    })
  }
})

describe('without its store', () => {
  const startAlone = async (t, api, options) =>
    startSharing(t, { api, url: `redis://127.0.0.1:${await closedPort()}`, refreshIntervalMs: 100, ...options })

  test('requests go out and answers come back', async (t) => {
    const api = await standIn(t)
    const { ready, load, evaluate, requests, troubles, cache } = await startAlone(t, api)
    await ready()
    assert.equal(await evaluate(), 'v1')
    api.edit()
    await load()
    assert.equal(await evaluate(), 'v2')
    api.next(500)
    await load()
    for (const seen of [api.calls, requests])
      assert.deepEqual(
        seen.map(({ status }) => status),
        [200, 200, 500],
      )
    assert.deepEqual(
      troubles.map(({ code }) => code),
      ['ERR_FLAG_CACHE_UNAVAILABLE', 'ERR_FLAG_CACHE_API'],
    )
    assert.ok(cache.status().counters.errors.ERR_FLAG_CACHE_UNAVAILABLE >= 3)
  })

  test('an unchanged poll costs a 304, as it does without the cache', async (t) => {
    const api = await standIn(t)
    const { load } = await startAlone(t, api)
    for (let n = 0; n < 3; n += 1) await load()
    assert.deepEqual(
      api.calls.map(({ status }) => status),
      [200, 304, 304],
    )
  })

  test('definitions published during the outage are fetched in full once', async (t) => {
    const redis = await STORES.redis()
    t.after(() => redis.close())
    const api = await standIn(t)
    const { ready, load } = startSharing(t, { api, url: redis.url, refreshIntervalMs: 100 })
    await ready()
    await load()
    await redis.close()
    api.edit()
    const before = api.calls.length
    // A short outage costs no call.
    while (api.calls.length === before) await load()
    for (let n = 0; n < 2; n += 1) await load()
    assert.deepEqual(
      api.calls.slice(before).map(({ status }) => status),
      [200, 304, 304],
    )
  })

  test('that failed during a fetch, the definitions arrive, and are published when it is back', async (t) => {
    const redis = await STORES.redis()
    t.after(() => redis.close())
    const api = await standIn(t)
    const options = { api, url: redis.url, refreshIntervalMs: 100, commandTimeoutMs: 300 }
    const other = startSharing(t, options)
    await other.ready()
    await other.client.shutdown()
    let isOnItsWay = false
    const inner = (...request) => {
      if (isOnItsWay) redis.server.pause()
      return globalThis.fetch(...request)
    }
    const first = startSharing(t, { ...options, inner })
    await first.ready()
    api.edit()
    isOnItsWay = true
    await first.fetch()
    assert.equal(await first.evaluate(), 'v2')
    assert.match(first.errors.at(-1), /^Failed to store in cache: /)
    isOnItsWay = false
    const second = openCache(t, { projectKey: api.projectKey, url: redis.url })
    const told = nextUpdate(second)
    redis.server.resume()
    const published = first.cache.status().counters.publishes
    while (first.cache.status().counters.publishes === published) await first.load()
    await told
    assert.match(String(await redis.stored(api.projectKey)), /Ausgabe v2/)
  })
})
