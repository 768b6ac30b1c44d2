// What the fleet does when PostHog fails or refuses, and what `flagCache.fetch` does when the store fails.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { openCache, standIn } from './support/client.mjs'
import { nextUpdate, startSharing } from './support/shared.mjs'
import { closedPort, STORES } from './support/stores.mjs'

const INTERVAL_MS = 60_000
/** The rule's slack: how much earlier than the interval a fetch may come. */
const PAUSE_MS = INTERVAL_MS - 1_000
const HOUR_MS = 3_600_000
/** How long ago a pause may have begun when it is looked at. */
const LATE_MS = 30_000

const inSeconds = (seconds) => new Date(Date.now() + seconds * 1_000).toUTCString()

/** What happens, and for how long the fleet keeps off PostHog then. */
const FAILURES = {
  '429 with Retry-After in seconds': { answer: 429, retryAfter: () => 120, pauseMs: 120_000 },
  '429 with Retry-After as a date': { answer: 429, retryAfter: () => inSeconds(120), pauseMs: 120_000 },
  '429 with Retry-After of more than an hour': { answer: 429, retryAfter: () => 86_400, pauseMs: HOUR_MS },
  '429 with Retry-After beyond all numbers': { answer: 429, retryAfter: () => '9'.repeat(400), pauseMs: HOUR_MS },
  '429 with a date of next year': { answer: 429, retryAfter: () => inSeconds(365 * 86_400), pauseMs: HOUR_MS },
  '429 with Retry-After shorter than the interval': { answer: 429, retryAfter: () => 1 },
  '429 with a date that is over': { answer: 429, retryAfter: () => inSeconds(-60) },
  '429 with an unreadable Retry-After': { answer: 429, retryAfter: () => 'soon' },
  '429 without Retry-After': { answer: 429 },
  '503 with Retry-After': { answer: 503, retryAfter: () => 120, pauseMs: 120_000 },
  '500': { answer: 500 },
  '404': { answer: 404 },
  'no answer in time': { answer: 'silence', posthogOptions: { requestTimeout: 200 } },
  'JSON that stops halfway': { answer: 'truncated', trouble: 'ERR_FLAG_CACHE_DATA' },
  'a connection cut halfway': { answer: 'cut' },
  'HTML': { answer: 'html', trouble: 'ERR_FLAG_CACHE_DATA' },
  'JSON without flags': { answer: 'not-flags', trouble: 'ERR_FLAG_CACHE_DATA' },
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

describe('after', () => {
  for (const [what, { answer, retryAfter, isClosed, posthogOptions, trouble, pauseMs = PAUSE_MS }] of Object.entries(FAILURES)) {
    test(`${what} the fleet keeps off PostHog, and nothing is published`, async (t) => {
      const api = await standIn(t)
      if (isClosed) api.url = `http://127.0.0.1:${await closedPort()}`
      else api.always(answer, { retryAfter: retryAfter?.() })
      const options = { api, url: store.url, refreshIntervalMs: INTERVAL_MS, posthogOptions }
      const first = startSharing(t, options)
      await first.load()
      assert.equal(first.sent.length, 1)
      if (typeof answer === 'number') assert.equal(first.requests[0].response.status, answer)
      assert.equal(await store.stored(api.projectKey), undefined)
      const { definitions, counters } = first.cache.status()
      assert.deepEqual([definitions, counters.publishes, counters.confirms], [null, 0, 0])

      const retryInMs = await pauseOf(t, api)
      assert.ok(retryInMs <= pauseMs && retryInMs > pauseMs - LATE_MS, `a pause of ${retryInMs} ms`)

      // Neither a cold process nor the one that failed calls again: both are told locally.
      const second = startSharing(t, options)
      await second.load()
      await first.load()
      for (const { requests, sent } of [second, first]) {
        const { status, response } = requests.at(-1)
        assert.equal(status, 503)
        const seconds = Number(response.headers.get('retry-after'))
        assert.ok(seconds * 1_000 <= pauseMs + 1_000 && seconds * 1_000 > pauseMs - LATE_MS, `Retry-After: ${seconds}`)
        assert.equal(sent.length, sent === first.sent ? 1 : 0)
      }
      assert.ok(api.calls.length <= 1)
      assert.deepEqual(first.troubles.map(({ code }) => code), trouble ? [trouble] : [])
      assert.deepEqual(second.errors, [])
    })
  }

  test('the pause one process asks again, and all have the definitions', async (t) => {
    const api = await standIn(t)
    api.next(429, { retryAfter: 2 })
    const options = { api, url: store.url, refreshIntervalMs: 1_000, pollingIntervalMs: 250 }
    const first = startSharing(t, options)
    await first.load()
    const second = startSharing(t, options)
    await Promise.all([second.until('v1'), first.until('v1')])
    const [failed, ...others] = api.calls
    assert.equal(failed.status, 429)
    assert.ok(others[0].at - failed.at >= 2_000, `${others[0].at - failed.at} ms apart`)
    assert.equal(api.count(200), 1)
    assert.equal(await pauseOf(t, api), null)
  })

  test('429 in an emergency, while the process whose turn it is still waits for its answer, the pause counts as well', async (t) => {
    const api = await standIn(t)
    const options = { url: store.url, refreshIntervalMs: INTERVAL_MS }
    const holder = openCache(t, { projectKey: api.projectKey, ...options })
    assert.equal(await holder.shouldFetchFlagDefinitions(), true)
    api.always(429, { retryAfter: 120 })
    for (let n = 0; n < 3; n += 1) await startSharing(t, { api, coldStartWaitMs: 20, ...options }).load()
    assert.equal(api.calls.length, 1)
    assert.ok((await pauseOf(t, api)) > PAUSE_MS)
  })

  test('a failure the fleet goes on with what it has, and does not count it as current', async (t) => {
    const api = await standIn(t)
    const options = { api, url: store.url, refreshIntervalMs: INTERVAL_MS }
    const [first, second] = [startSharing(t, options), startSharing(t, options)]
    await Promise.all([first.ready(), second.ready()])
    const [published, ageMs] = [await store.stored(api.projectKey), first.cache.status().definitions.ageMs]
    api.edit()
    api.next(500)
    await first.cache.invalidate()
    await first.load()
    assert.deepEqual(api.calls.map(({ status }) => status), [200, 500])
    await second.load()
    assert.equal(second.cache.status().retryInMs > 0, true)
    assert.ok((await store.stored(api.projectKey)).equals(published))
    assert.deepEqual([await first.evaluate(), await second.evaluate()], ['v1', 'v1'])
    assert.ok(first.cache.status().definitions.ageMs > ageMs)
    assert.equal(api.calls.length, 2)
  })
})

describe('a refusal', () => {
  for (const status of [401, 402, 403]) {
    test(`with ${status} reaches posthog-node as it is, and the listeners of onError() once`, async (t) => {
      t.mock.method(console, 'warn', () => {})
      const api = await standIn(t)
      const responses = []
      const inner = async (...request) => {
        responses.push(await globalThis.fetch(...request))
        return responses.at(-1)
      }
      const { cache, ready, fetch, requests, errors, troubles, evaluate } = startSharing(t, { api, inner, url: store.url, refreshIntervalMs: 100 })
      await ready()
      api.always(status)
      await fetch()
      await fetch()
      assert.deepEqual(requests.map(({ status }) => status), [200, status, status])
      assert.equal(requests.at(-1).response, responses.at(-1))
      // As without us: 402 takes the flags away, the others are errors.
      assert.equal(errors.length, status === 402 ? 0 : 2)
      assert.equal(await evaluate(), status === 402 ? undefined : 'v1')
      assert.deepEqual(troubles.map(({ code }) => code), ['ERR_FLAG_CACHE_API'])
      assert.match(troubles[0].message, new RegExp(String(status)))
      assert.equal(cache.status().retryInMs, null)
      assert.ok(await store.stored(api.projectKey))

      api.normal()
      await fetch()
      // Unchanged for the fleet; but who was told 402 has nothing any more.
      assert.equal(api.calls.at(-1).status, 304)
      assert.equal(requests.at(-1).status, status === 402 ? 200 : 304)
      assert.equal(await evaluate(), 'v1')
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
    for (const seen of [api.calls, requests]) assert.deepEqual(seen.map(({ status }) => status), [200, 200, 500])
    assert.deepEqual(troubles.map(({ code }) => code), ['ERR_FLAG_CACHE_UNAVAILABLE'])
    assert.ok(cache.status().counters.errors.ERR_FLAG_CACHE_UNAVAILABLE >= 3)
  })

  test('an unchanged poll costs a 304, as it does without us', async (t) => {
    const api = await standIn(t)
    const { load } = await startAlone(t, api)
    for (let n = 0; n < 3; n += 1) await load()
    assert.deepEqual(api.calls.map(({ status }) => status), [200, 304, 304])
  })

  test('definitions that came while it was away are fetched in full once', async (t) => {
    const redis = await STORES.redis()
    t.after(() => redis.close())
    const api = await standIn(t)
    const { ready, load } = startSharing(t, { api, url: redis.url, refreshIntervalMs: 100 })
    await ready()
    await load()
    await redis.close()
    api.edit()
    const before = api.calls.length
    for (let n = 0; n < 3; n += 1) await load()
    assert.deepEqual(api.calls.slice(before).map(({ status }) => status), [200, 304, 304])
  })

  test('that went while definitions were on their way they arrive, and are published when it is back', async (t) => {
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
