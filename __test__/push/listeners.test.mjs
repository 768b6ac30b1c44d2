// What listeners of onUpdate() are told, and when; and that they harm nobody.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { sleep } from '../../dev/harness/clock.mjs'
import { definitions } from '../../dev/harness/definitions.mjs'
import { runNode } from '../support/child.mjs'
import { FlagCacheError, openCache, publish, standIn } from '../support/client.mjs'
import { nextUpdate, startSharing } from '../support/shared.mjs'
import { newProjectKey, STORES } from '../support/stores.mjs'

for (const kind of ['redis', 'directory', 'memory']) {
  describe(`a listener over ${kind}`, () => {
    let store
    before(async () => (store = await STORES[kind]()))
    after(() => store.close())
    const options = (more) => ({ projectKey: newProjectKey(), url: store.url, ...more })

    test('is called for versions of other processes, but not for versions that its process has', async (t) => {
      const shared = options()
      const [publisher, follower] = [openCache(t, shared), openCache(t, shared)]
      publisher.onUpdate(() => assert.fail('told of its own'))
      const told = []
      follower.onUpdate((version) => told.push(version))
      await publish(publisher, definitions({ version: 'v1' }))
      for (const version of ['v2', 'v3']) {
        const next = nextUpdate(follower)
        await follower.getFlagDefinitions()
        await publisher.onFlagDefinitionsReceived(definitions({ version }))
        assert.equal(await next, publisher.status().definitions.version)
      }
      // Its own, again, and nothing at all: a grant, a confirmation.
      await follower.getFlagDefinitions()
      await publisher.onFlagDefinitionsReceived(definitions({ version: 'v3' }))
      await publisher.invalidate()
      const last = nextUpdate(follower)
      await publisher.onFlagDefinitionsReceived(definitions({ version: 'v4' }))
      await last
      assert.equal(new Set(told).size, told.length, `twice of the same: ${told}`)
      assert.ok(told.length <= 4, `${told.length} times of 4 versions`)
    })

    test('that subscribes late is called for the current version', async (t) => {
      const shared = options()
      await publish(openCache(t, shared), definitions())
      const late = openCache(t, shared)
      const version = await nextUpdate(late)
      await late.getFlagDefinitions()
      assert.equal(late.status().definitions.version, version)
    })

    test('is never called during a call, however many there are, and ends on the newest version', async (t) => {
      const api = await standIn(t)
      const shared = { projectKey: api.projectKey, url: store.url }
      const publisher = openCache(t, shared)
      await publish(publisher, definitions({ version: 'v1' }))
      const follower = startSharing(t, { api, url: store.url })
      let inside = 0
      for (const method of ['shouldFetchFlagDefinitions', 'getFlagDefinitions']) {
        const call = follower.cache[method].bind(follower.cache)
        follower.cache[method] = async () => {
          inside += 1
          try {
            return await call()
          } finally {
            inside -= 1
          }
        }
      }
      const told = []
      follower.cache.onUpdate((version) => {
        told.push({ version, inside, held: follower.cache.status().definitions?.version })
        return follower.load()
      })
      await follower.ready()
      const versions = Array.from({ length: 40 }, (_, n) => `v${n + 2}`)
      for (const version of versions) await publisher.onFlagDefinitionsReceived(definitions({ version }))
      // Nothing but the listener loads: what is announced during a load must not be lost.
      await follower.until('v41')
      t.diagnostic(`told ${told.length} times of 40 edits`)
      assert.deepEqual(
        told.filter(({ inside }) => inside > 0),
        [],
      )
      assert.deepEqual(
        told.filter(({ version, held }) => version === held),
        [],
        'told of what it has',
      )
      assert.equal(api.calls.length, 0)
    })

    test('that must not be called during calls is called after the last one', async (t) => {
      const shared = options()
      const [publisher, follower, other] = [openCache(t, shared), openCache(t, shared), openCache(t, shared)]
      await publish(publisher, definitions({ version: 'v1' }))
      for (const cache of [follower, other]) await cache.getFlagDefinitions()
      let isBusy = true
      const calls = (async () => {
        while (isBusy) await follower.invalidate()
      })()
      const told = nextUpdate(follower).then((version) => ({ version, isBusy }))
      const othersTold = nextUpdate(other)
      await publisher.onFlagDefinitionsReceived(definitions({ version: 'v2' }))
      await othersTold
      await sleep(100)
      isBusy = false
      await calls
      assert.deepEqual(await told, { version: await othersTold, isBusy: false })
    })

    test('that reloads during a load still ends on the newest version', async (t) => {
      const api = await standIn(t)
      const options = { api, url: store.url, refreshIntervalMs: 200, leaseTtlMs: 200 }
      const slow = startSharing(t, { ...options, push: true })
      await slow.ready()
      const release = api.hold()
      const arrived = api.nextRequest(() => true)
      const fetching = slow.fetch()
      await arrived
      // The gate is open for others.
      api.hold()()
      api.edit()
      const told = nextUpdate(openCache(t, { ...options, api: undefined, projectKey: api.projectKey }))
      const quick = startSharing(t, { ...options, pollingIntervalMs: 200 })
      await quick.until('v2')
      await told
      await sleep(100)
      release()
      await fetching
      await slow.until('v2', 5_000)
    })

    test('that throws or rejects affects no other, and is reported', async (t) => {
      const shared = options()
      const [publisher, follower] = [openCache(t, shared), openCache(t, shared)]
      const [errors, told] = [[], []]
      follower.onError((error) => errors.push(error))
      follower.onError(() => {
        throw new Error('a listener of errors that throws')
      })
      follower.onUpdate(() => {
        throw new FlagCacheError('E_THROWN', 'thrown')
      })
      follower.onUpdate(async () => {
        throw new FlagCacheError('E_REJECTED', 'rejected')
      })
      follower.onUpdate((version) => told.push(version))
      await publish(publisher, definitions({ version: 'v1' }))
      for (const version of ['v2', 'v3']) {
        await follower.getFlagDefinitions()
        const next = nextUpdate(follower)
        await publisher.onFlagDefinitionsReceived(definitions({ version }))
        await next
      }
      await follower.getFlagDefinitions()
      assert.deepEqual(
        errors.map(({ code, message }) => [code, message]),
        [
          ['E_THROWN', 'thrown'],
          ['E_REJECTED', 'rejected'],
        ],
      )
      assert.ok(told.length >= 2)
    })

    test('is not called after it unsubscribes, once or twice; the same function may subscribe twice', async (t) => {
      const shared = options()
      const [publisher, follower] = [openCache(t, shared), openCache(t, shared)]
      const told = []
      const listener = (version) => told.push(version)
      const [first, second] = [follower.onUpdate(listener), follower.onUpdate(listener)]
      assert.equal(first(), undefined)
      assert.equal(first(), undefined)
      const next = nextUpdate(follower)
      await publish(publisher, definitions({ version: 'v1' }))
      await next
      assert.equal(told.length, 1)
      second()
      await follower.getFlagDefinitions()
      // Nobody listens; then somebody does again, and is told of what there is.
      await publisher.onFlagDefinitionsReceived(definitions({ version: 'v2' }))
      await nextUpdate(follower)
      assert.equal(told.length, 1)
    })

    test('does not keep its process alive', async () => {
      const source = `
        const { FlagDefinitionCache } = require('posthog-flag-cache')
        const cache = new FlagDefinitionCache(JSON.parse(process.env.OPTIONS))
        cache.onUpdate(() => {})
        cache.onError(() => {})
        if (process.env.USE) cache.getFlagDefinitions().then(() => console.log('used'))
      `
      const OPTIONS = JSON.stringify(options())
      for (const [USE, output] of [
        ['', ''],
        ['yes', 'used\n'],
      ]) {
        const { code, signal, stdout, stderr } = await runNode(source, { env: { OPTIONS, USE } })
        assert.deepEqual([code, signal, stdout, stderr], [0, null, output, ''])
      }
    })
  })
}

test('a listener that is not a function is an option error', (t) => {
  const cache = openCache(t, { projectKey: newProjectKey(), url: 'memory:' })
  for (const method of ['onUpdate', 'onError']) {
    for (const wrong of [undefined, null, {}, 'function']) {
      assert.throws(
        () => cache[method](wrong),
        (error) => error instanceof FlagCacheError && error.code === 'ERR_FLAG_CACHE_OPTIONS',
      )
    }
  }
})
