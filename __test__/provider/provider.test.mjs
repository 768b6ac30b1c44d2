// The class as posthog-node and its users see it, over each store.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import { inspect } from 'node:util'
import vm from 'node:vm'

import { now } from '../../dev/harness/clock.mjs'
import { FlagCacheError, FlagDefinitionCache, failure, openCache, publish } from '../support/client.mjs'
import { closedPort, newProjectKey, STORES } from '../support/stores.mjs'

const require = createRequire(import.meta.url)

/** What posthog-node hands over: both spellings, some of them undefined, and what later versions will add. */
const received = () => ({
  flags: [{ key: 'größe-新', active: true, filters: { payloads: { true: '{"a":"…"}' } }, surprise: [null, 1.5e300] }],
  group_type_mapping: { 0: 'organization' },
  groupTypeMapping: { 0: 'organization' },
  cohorts: { 7: { type: 'AND', values: [{ value: '日本 \u2028 \ud83d\ude80 \ud800' }] } },
  property_matching_version: undefined,
  'a field of next year': { deeply: { nested: [[[{ '': '' }]]] } },
})

const asJson = (data) => JSON.parse(JSON.stringify(data))

describe('the package', () => {
  test('gives the same classes to require() and to import', async () => {
    const imported = await import('posthog-flag-cache')
    const required = require('posthog-flag-cache')
    assert.equal(imported.FlagDefinitionCache, required.FlagDefinitionCache)
    assert.equal(imported.FlagCacheError, required.FlagCacheError)
    assert.equal(imported.default, required)
    assert.equal(required.FlagDefinitionCache, FlagDefinitionCache)
  })

  test('answers with promises of the realm that loaded it, as posthog-node asks of shutdown() with instanceof', async () => {
    // As Jest does: the module's code runs in a context with a Promise of its own.
    const context = vm.createContext({})
    const code = readFileSync(require.resolve('../../lib/cache.js'), 'utf8')
    const run = vm.compileFunction(code, ['module', 'exports', 'require', 'process'], { parsingContext: context })
    const module = { exports: {} }
    run(module, module.exports, (id) => require(id.replace(/^\.\//, '../../lib/')), process)
    const foreign = vm.runInContext('Promise', context)
    for (const [Cache, Realm] of [
      [module.exports.FlagDefinitionCache, foreign],
      [FlagDefinitionCache, Promise],
    ]) {
      const cache = new Cache({ projectKey: newProjectKey(), url: 'memory:' })
      const promises = [
        cache.getFlagDefinitions(),
        cache.shouldFetchFlagDefinitions(),
        cache.onFlagDefinitionsReceived({ flags: [], cohorts: {} }),
        cache.shutdown(),
      ]
      for (const promise of promises) assert.ok(promise instanceof Realm)
      await Promise.allSettled(promises)
    }
  })
})

for (const kind of Object.keys(STORES)) {
  describe(`a cache over ${kind}`, () => {
    let store
    before(async () => (store = await STORES[kind]()))
    after(() => store.close())
    const options = (more) => ({ projectKey: newProjectKey(), url: store.url, ...more })

    test('is empty at first, and grants the first fetch', async (t) => {
      const cache = openCache(t, options())
      assert.equal(await cache.getFlagDefinitions(), undefined)
      assert.equal(await cache.shouldFetchFlagDefinitions(), true)
    })

    test('returns to another process what was published, with unknown fields and without undefined ones', async (t) => {
      const shared = options()
      const data = received()
      await publish(openCache(t, shared), data)
      const found = await openCache(t, shared).getFlagDefinitions()
      assert.deepEqual(found, asJson(data))
      assert.ok(!('property_matching_version' in found))
    })

    test('returns the same object while nothing changes, and to the publisher its own object', async (t) => {
      const shared = options()
      const [publisher, follower] = [openCache(t, shared), openCache(t, shared)]
      const data = received()
      await publish(publisher, data)
      assert.equal(await publisher.getFlagDefinitions(), data)
      const found = await follower.getFlagDefinitions()
      assert.equal(await follower.getFlagDefinitions(), found)
      assert.equal(await follower.shouldFetchFlagDefinitions(), false)
      assert.equal(await follower.getFlagDefinitions(), found)

      const edited = { ...data, flags: [] }
      await publisher.onFlagDefinitionsReceived(edited)
      assert.deepEqual(await follower.getFlagDefinitions(), asJson(edited))
      assert.equal(await publisher.getFlagDefinitions(), edited)
    })

    test('reads the store once for a poll and the read that follows it at once', async (t) => {
      const shared = options()
      await publish(openCache(t, shared), received())
      const cache = openCache(t, shared)
      const reads = async (work) => {
        const { loads, unchanged } = cache.status().counters
        await work()
        const { counters } = cache.status()
        return counters.loads + counters.unchanged - loads - unchanged
      }
      const get = async () => assert.deepEqual(await cache.getFlagDefinitions(), asJson(received()))
      const poll = async () => assert.equal(await cache.shouldFetchFlagDefinitions(), false)
      assert.equal(await reads(poll), 1)
      assert.equal(await reads(get), 0)
      assert.equal(await reads(get), 1, 'once only')
      await poll()
      const later = performance.now() + 200
      t.mock.method(performance, 'now', () => later)
      assert.equal(await reads(get), 1, 'not later')
      t.mock.restoreAll()
      await poll()
      await cache.shutdown()
      assert.equal((await failure(cache.getFlagDefinitions())).code, 'ERR_FLAG_CACHE_CLOSED')
    })

    test('shares compressed definitions as well', async (t) => {
      const shared = options({ compression: 'zstd' })
      const data = { flags: Array.from({ length: 500 }, (_, id) => ({ key: `größe-${id}` })), cohorts: {} }
      await publish(openCache(t, shared), data)
      assert.deepEqual(await openCache(t, { ...shared, compression: 'none' }).getFlagDefinitions(), data)
      if (store.stored) assert.ok((await store.stored(shared.projectKey)).length < JSON.stringify(data).length / 4)
    })

    test('keeps what has the same key but another prefix apart', async (t) => {
      const one = options()
      const other = { ...one, keyPrefix: 'another/prefix%' }
      await publish(openCache(t, one), received())
      const cache = openCache(t, other)
      assert.equal(await cache.getFlagDefinitions(), undefined)
      await publish(cache, { flags: [], cohorts: {} })
      assert.deepEqual(await openCache(t, one).getFlagDefinitions(), asJson(received()))
      assert.deepEqual(await openCache(t, other).getFlagDefinitions(), { flags: [], cohorts: {} })
    })

    test('with the role of a reader never fetches, and never publishes', async (t) => {
      const shared = options()
      const reader = openCache(t, { ...shared, role: 'reader' })
      assert.equal(await reader.shouldFetchFlagDefinitions(), false)
      assert.equal((await failure(reader.onFlagDefinitionsReceived(received()))).code, 'ERR_FLAG_CACHE_READONLY')
      assert.equal(await reader.getFlagDefinitions(), undefined)
      await publish(openCache(t, shared), received())
      assert.deepEqual(await reader.getFlagDefinitions(), asJson(received()))
    })

    test('releases the lease at shutdown, but no process fetches before the interval is over', async (t) => {
      const shared = options()
      const [leader, next] = [openCache(t, shared), openCache(t, shared)]
      await publish(leader, received())
      await leader.shutdown()
      assert.equal(await next.shouldFetchFlagDefinitions(), false)
      assert.deepEqual(await next.getFlagDefinitions(), asJson(received()))
    })

    test('lets another process fetch at once if the leader of an empty cache shuts down', async (t) => {
      const shared = options({ coldStartWaitMs: 60_000 })
      const [leader, next] = [openCache(t, shared), openCache(t, shared)]
      assert.equal(await leader.shouldFetchFlagDefinitions(), true)
      const waiting = next.shouldFetchFlagDefinitions()
      await leader.shutdown()
      const leftAt = now()
      assert.equal(await waiting, true)
      assert.ok(now() - leftAt < 10_000, 'it waited for the lease to end, which takes 45 s')
    })

    test('can be shut down several times, after which every other call rejects', async () => {
      const cache = new FlagDefinitionCache(options())
      await publish(cache, received())
      assert.deepEqual(await Promise.all([cache.shutdown(), cache.shutdown()]), [undefined, undefined])
      assert.equal(await cache[Symbol.asyncDispose](), undefined)
      const calls = [cache.getFlagDefinitions(), cache.shouldFetchFlagDefinitions(), cache.onFlagDefinitionsReceived(received())]
      for (const { code } of await Promise.all(calls.map(failure))) assert.equal(code, 'ERR_FLAG_CACHE_CLOSED')
    })

    test('bears a hundred calls at once', async (t) => {
      const shared = options()
      const caches = Array.from({ length: 4 }, () => openCache(t, { ...shared, commandTimeoutMs: 20_000 }))
      await publish(caches[0], received())
      const calls = Array.from({ length: 100 }, (_, n) => caches[n % 4][n % 8 < 4 ? 'getFlagDefinitions' : 'shouldFetchFlagDefinitions']())
      for (const answer of await Promise.all(calls)) {
        if (answer !== false) assert.deepEqual(asJson(answer), asJson(received()))
      }
    })
  })
}

describe('an error', () => {
  test('has a name, a code, a cause, and a stack that leads to the caller', async (t) => {
    const url = `redis://somebody:s3cret@127.0.0.1:${await closedPort()}`
    const cache = openCache(t, { projectKey: newProjectKey(), url })
    async function theCaller(method, ...args) {
      return await cache[method](...args)
    }
    for (const call of [['getFlagDefinitions'], ['shouldFetchFlagDefinitions'], ['onFlagDefinitionsReceived', received()]]) {
      const error = await failure(theCaller(...call))
      assert.ok(error instanceof Error)
      assert.equal(error.name, 'FlagCacheError')
      assert.equal(error.code, 'ERR_FLAG_CACHE_UNAVAILABLE')
      assert.match(error.message, /^redis:\/\/127\.0\.0\.1:\d+\/0 cannot be reached: .*refused/i)
      assert.ok(error.cause instanceof Error)
      assert.match(error.stack, /theCaller/, call[0])
      assert.doesNotMatch(inspect(error, { showHidden: true, depth: null }) + error.stack, /s3cret/)
    }
  })

  test('of the constructor has the same shape, and is thrown at once', () => {
    assert.throws(
      () => new FlagDefinitionCache({ projectKey: 7 }),
      (error) => {
        assert.ok(error instanceof FlagCacheError)
        assert.deepEqual([error.name, error.code], ['FlagCacheError', 'ERR_FLAG_CACHE_OPTIONS'])
        assert.match(error.stack, /provider\.test\.mjs/)
        return true
      },
    )
  })
})
