// A Redis that is not there, dies, or hangs: posthog-node goes on, and no call takes longer than it may.

import assert from 'node:assert/strict'
import { connect, createServer } from 'node:net'
import { describe, test } from 'node:test'

import { nextEvent, now, sleep } from '../../dev/harness/clock.mjs'
import { failure, openCache, publish, standIn, startClient } from '../support/client.mjs'
import { closedPort, newProjectKey, redisFor } from '../support/stores.mjs'

/** What a busy machine may add to a limit: timers and threads that are late. */
const ALLOWANCE_MS = 1_000

/** Listens and accepts, but never says a word. */
async function silentServer(t) {
  const sockets = new Set()
  const server = createServer((socket) => sockets.add(socket.on('error', () => {})))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `redis://127.0.0.1:${server.address().port}`
}

/** Forwards to `port`, and on demand lets every connection of that moment go silent, as a lost route does. */
async function proxyFor(t, port) {
  const open = new Set()
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    for (const socket of [near, far]) open.add(socket.on('error', () => {}))
    near.pipe(far).pipe(near)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  const silence = () => {
    for (const socket of open) socket.unpipe().pause()
  }
  return { url: `redis://127.0.0.1:${server.address().port}`, silence }
}

describe("without its Redis a client with whenUnavailable: 'fetch'", () => {
  test('reports it, and fetches for itself from the start', async (t) => {
    const api = await standIn(t)
    const client = startClient(t, { api, url: `redis://127.0.0.1:${await closedPort()}` })
    await client.ready()
    assert.equal(await client.evaluate(), 'v1')
    assert.match(client.errors[0], /^Error in shouldFetchFlagDefinitions: FlagCacheError.*: redis:\/\/127\.0\.0\.1:\d+\/0 cannot be/)
    assert.equal(api.calls.length, 1)

    api.edit()
    await client.load()
    assert.equal(await client.evaluate(), 'v2')
    assert.equal(api.calls.length, 2)
  })

  test('reads the kind of the failure from the report', async (t) => {
    // posthog-node hands on no error of ours, only its text: the code must be in there.
    const api = await standIn(t)
    const client = startClient(t, { api, url: `redis://127.0.0.1:${await closedPort()}` })
    await client.ready()
    assert.match(client.errors[0], /FlagCacheError \[ERR_FLAG_CACHE_UNAVAILABLE\]: /)
  })

  test('does so when the server is killed, and shares again when it is back', async (t) => {
    const api = await standIn(t)
    const redis = await redisFor(t)
    const client = startClient(t, { api, url: redis.url, refreshIntervalMs: 100 })
    await client.ready()
    await redis.stop()
    api.edit()
    // Not at once: a short outage costs no call.
    while (api.calls.length === 1) await client.load()
    assert.equal(await client.evaluate(), 'v2')
    assert.equal(api.calls.length, 2)
    assert.match(client.errors[0], /^Error in shouldFetchFlagDefinitions: FlagCacheError/)

    // What it fetched meanwhile reaches the others: the API will answer 304 from now on.
    const returned = await redisFor(t, { port: redis.port })
    const updates = returned.client()
    await updates.subscribe(`posthog:flags:{${api.projectKey}}:updates`)
    const published = nextEvent(updates, 'message')
    const polling = setInterval(() => client.load(), 50)
    t.after(() => clearInterval(polling))
    await published
    clearInterval(polling)
    const newcomer = startClient(t, { api, url: redis.url })
    await newcomer.ready()
    assert.equal(await newcomer.evaluate(), 'v2')
    assert.equal(api.count(200), 2)
    assert.deepEqual(newcomer.errors, [])
  })
})

describe("without its Redis a client with whenUnavailable: 'stale'", () => {
  test('makes no request and reports nothing while it has definitions that are young enough', async (t) => {
    const api = await standIn(t)
    const redis = await redisFor(t)
    const client = startClient(t, { api, url: redis.url, whenUnavailable: 'stale' })
    const follower = startClient(t, { api, url: redis.url, whenUnavailable: 'stale' })
    await Promise.all([client.ready(), follower.ready()])
    await redis.stop()
    api.edit()
    for (let n = 0; n < 5; n += 1) {
      await Promise.all([client.load(), follower.load()])
      assert.deepEqual([await client.evaluate(), await follower.evaluate()], ['v1', 'v1'])
    }
    assert.equal(api.calls.length, 1)
    assert.deepEqual([client.errors, follower.errors], [[], []])
  })

  test('fetches for itself once they are older than maxAgeMs', async (t) => {
    const api = await standIn(t)
    const redis = await redisFor(t)
    const options = { whenUnavailable: 'stale', refreshIntervalMs: 100, maxAgeMs: 500 }
    const client = startClient(t, { api, url: redis.url, ...options })
    await client.ready()
    await redis.stop()
    api.edit()
    await sleep(options.maxAgeMs + 1)
    await client.load()
    assert.equal(await client.evaluate(), 'v2')
    assert.equal(client.errors.length > 0, true)
  })

  test('fetches for itself while it holds none', async (t) => {
    const api = await standIn(t)
    const client = startClient(t, { api, url: `redis://127.0.0.1:${await closedPort()}`, whenUnavailable: 'stale' })
    await client.ready()
    assert.equal(await client.evaluate(), 'v1')
    assert.match(client.errors[0], /^Error in shouldFetchFlagDefinitions: FlagCacheError/)
  })
})

describe('no call takes longer than connectTimeoutMs + 2 × commandTimeoutMs, or coldStartWaitMs longer at a cold start,', () => {
  const limits = { connectTimeoutMs: 150, commandTimeoutMs: 100, coldStartWaitMs: 200 }
  const limit = limits.connectTimeoutMs + 2 * limits.commandTimeoutMs + limits.coldStartWaitMs + ALLOWANCE_MS
  const calls = [
    (cache) => cache.getFlagDefinitions(),
    (cache) => cache.shouldFetchFlagDefinitions(),
    (cache) => cache.onFlagDefinitionsReceived({ flags: [] }),
    (cache) => cache.shutdown(),
  ]

  async function assertBounded(caches, code) {
    await Promise.all(
      calls.map(async (call, n) => {
        const startedAt = now()
        const error = await call(caches[n]).then(
          () => undefined,
          (error) => error,
        )
        const tookMs = now() - startedAt
        assert.ok(tookMs < limit, `call ${n} took ${tookMs} ms`)
        // A shutdown absorbs its errors.
        if (n < 3) assert.match(String(error?.code), code)
      }),
    )
  }

  const cachesFor = (t, url) => {
    const projectKey = newProjectKey()
    return calls.map(() => openCache(t, { projectKey, url, ...limits }))
  }

  test('where nobody listens', async (t) => {
    await assertBounded(cachesFor(t, `redis://127.0.0.1:${await closedPort()}`), /UNAVAILABLE$/)
  })

  test('where the server accepts and says nothing', async (t) => {
    await assertBounded(cachesFor(t, await silentServer(t)), /TIMEOUT$/)
  })

  test('where the server hangs before they begin', async (t) => {
    const redis = await redisFor(t)
    const caches = cachesFor(t, redis.url)
    await Promise.all(caches.map((cache) => cache.getFlagDefinitions()))
    redis.pause()
    await assertBounded(caches, /TIMEOUT$/)
  })

  test('where it hangs while another one fetches and they wait for that', async (t) => {
    const redis = await redisFor(t)
    const caches = cachesFor(t, redis.url)
    await caches[2].shouldFetchFlagDefinitions()
    const waiting = assertBounded(caches, /TIMEOUT$|undefined/)
    redis.pause()
    await waiting
  })

  test('and a connection that went silent is replaced after its second timeout', async (t) => {
    const redis = await redisFor(t)
    const proxy = await proxyFor(t, redis.port)
    const [cache] = cachesFor(t, proxy.url)
    await publish(cache, { flags: [] })
    proxy.silence()
    for (let n = 0; n < 3; n += 1) assert.deepEqual(await cache.getFlagDefinitions(), { flags: [] })
    assert.equal(cache.status().counters.errors.ERR_FLAG_CACHE_TIMEOUT, 2)
  })

  test('and after it hung they work again', async (t) => {
    const redis = await redisFor(t)
    const [cache, other] = cachesFor(t, redis.url)
    await publish(cache, { flags: [] })
    redis.pause()
    // The second timeout in a row gives the connection up.
    await failure(other.getFlagDefinitions())
    await failure(other.getFlagDefinitions())
    redis.resume()
    let found
    for (const deadline = now() + 10_000; now() < deadline && !found; ) {
      found = await other.getFlagDefinitions().catch(() => sleep(20))
    }
    assert.deepEqual(found, { flags: [] })
  })
})
