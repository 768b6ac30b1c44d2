// invalidate(): somebody knows that the definitions changed, and the next load of that process fetches.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { sleep } from '../../dev/harness/clock.mjs'
import { failure, openCache, standIn } from '../support/client.mjs'
import { startSharing } from '../support/shared.mjs'
import { closedPort, newProjectKey, STORES } from '../support/stores.mjs'

const REFRESH_INTERVAL_MS = 60_000

/** Two invalidations no further apart count as one. */
const INVALIDATIONS_APART_MS = 1_000

for (const kind of ['redis', 'directory', 'memory']) {
  describe(`invalidate() over ${kind}`, () => {
    let store
    before(async () => (store = await STORES[kind]()))
    after(() => store.close())

    /** Two clients that have definitions: the first fetched them. */
    async function twoClients(t, options) {
      const api = await standIn(t)
      const start = async () => {
        const client = startSharing(t, { api, url: store.url, refreshIntervalMs: REFRESH_INTERVAL_MS, ...options })
        await client.load()
        return client
      }
      return { api, first: await start(), second: await start() }
    }
    const statuses = ({ calls }) => calls.map(({ status }) => status)

    test('makes the next load of that process fetch, whichever process fetched before, and no other load', async (t) => {
      const { api, first, second } = await twoClients(t)
      api.edit()
      await second.load()
      assert.deepEqual(statuses(api), [200])
      const { fence } = second.cache.status()
      await second.cache.invalidate()
      await second.load()
      assert.deepEqual([await first.evaluate(), await second.evaluate()], ['v1', 'v2'])
      assert.deepEqual([second.cache.status().fence, second.cache.status().isLeader], [fence + 1, true])
      await second.load()
      await first.load()
      assert.equal(await first.evaluate(), 'v2')
      assert.deepEqual(statuses(api), [200, 200])
    })

    test('resolves without a request, and costs a 304 if nothing changed', async (t) => {
      const { api, second } = await twoClients(t)
      assert.equal(await second.cache.invalidate(), undefined)
      assert.deepEqual(statuses(api), [200])
      await second.load()
      assert.deepEqual(statuses(api), [200, 304])
    })

    test('calls of many processes within a second count as one', async (t) => {
      const { api, first, second } = await twoClients(t)
      api.edit()
      await Promise.all([first, second, first, second].map(({ cache }) => cache.invalidate()))
      await Promise.all([first.load(), second.load()])
      await first.cache.invalidate()
      await first.load()
      assert.deepEqual(statuses(api), [200, 200])
      assert.deepEqual([await first.evaluate(), await second.evaluate()], ['v2', 'v2'])
      await sleep(INVALIDATIONS_APART_MS)
      api.edit()
      await first.cache.invalidate()
      await first.load()
      assert.deepEqual(statuses(api), [200, 200, 200])
    })

    test('does not shorten the pause that PostHog asked for', async (t) => {
      const { api, first, second } = await twoClients(t)
      api.next(429, { retryAfter: 2 })
      await first.cache.invalidate()
      await first.load()
      assert.deepEqual(statuses(api), [200, 429])
      assert.equal(first.errors.length, 1)

      // The interval is longer than the pause that was asked for: it counts.
      api.edit()
      await second.cache.invalidate()
      await second.load()
      assert.deepEqual(statuses(api), [200, 429])
      assert.equal(await second.evaluate(), 'v1')
      assert.ok(second.cache.status().retryInMs > 2_000)
    })

    test('reaches the leader, if the process that called it never loads', async (t) => {
      const { api, first, second } = await twoClients(t)
      api.edit()
      await second.cache.invalidate()
      assert.deepEqual(statuses(api), [200])
      await first.load()
      assert.deepEqual(statuses(api), [200, 200])
      assert.equal(await first.evaluate(), 'v2')
    })

    test('fails on a reader, and after shutdown()', async (t) => {
      const options = { projectKey: newProjectKey(), url: store.url }
      const reader = openCache(t, { ...options, role: 'reader' })
      assert.equal((await failure(reader.invalidate())).code, 'ERR_FLAG_CACHE_READONLY')
      const cache = openCache(t, options)
      await cache.shutdown()
      assert.equal((await failure(cache.invalidate())).code, 'ERR_FLAG_CACHE_CLOSED')
    })
  })
}

test('invalidate() fails while the store is unreachable', async (t) => {
  const cache = openCache(t, { projectKey: newProjectKey(), url: `redis://127.0.0.1:${await closedPort()}` })
  assert.equal((await failure(cache.invalidate())).code, 'ERR_FLAG_CACHE_UNAVAILABLE')
})
