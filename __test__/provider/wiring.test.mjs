// What makes a cache and its posthog-node client fit together, and what says so where they do not.

import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { describe, test } from 'node:test'

import { PostHog } from 'posthog-node'

import { startClient, standIn, FlagDefinitionCache, openCache, versionOf, failure } from '../support/client.mjs'
import { newProjectKey, STORES } from '../support/stores.mjs'

const memory = () => ({ projectKey: newProjectKey(), url: 'memory:' })

describe('clientOptions', () => {
  test('are all that a client needs', async (t) => {
    const api = await standIn(t)
    const flagCache = new FlagDefinitionCache({ projectKey: api.projectKey, url: 'memory:', refreshIntervalMs: 200 })
    const posthog = new PostHog(api.projectKey, { host: api.url, secretKey: api.secretKey, ...flagCache.clientOptions })
    t.after(() => posthog.shutdown())
    await posthog.waitForLocalEvaluationReady(10_000)
    // Its fetch shares the ETag, and it polls as often as the cache says.
    for (let polls = 0; polls < 2; polls += 1) await api.nextCall(({ status }) => status === 304)
    assert.ok(flagCache.status().counters.confirms >= 1)
    assert.equal(await versionOf(posthog), api.version)
  })

  test('have the default interval where none is given', (t) => {
    const cache = openCache(t, memory())
    const { flagDefinitionCacheProvider, fetch, featureFlagsPollingInterval } = cache.clientOptions
    assert.deepEqual([flagDefinitionCacheProvider, fetch, featureFlagsPollingInterval], [cache, cache.fetch, 30_000])
  })
})

describe('ensureFresh()', () => {
  test('reloads the client, once for all callers, and not again before the time is over', async (t) => {
    const api = await standIn(t)
    const { cache, client, ready } = startClient(t, { api, url: 'memory:', refreshIntervalMs: 100 })
    await ready()
    const polls = () => {
      const { grants, follows } = cache.status().counters
      return grants + follows
    }
    await cache.ensureFresh(client, 60_000)
    const before = polls()
    await cache.ensureFresh(client, 60_000)
    assert.equal(polls(), before)
    await Promise.all([1, 2, 3].map(() => cache.ensureFresh(client, 0)))
    assert.equal(polls(), before + 1)
  })

  test('waits for the load that a client began by itself, also that of one without a secret key', async (t) => {
    const api = await standIn(t)
    const store = await STORES.redis()
    t.after(() => store.close())
    await startClient(t, { api, url: store.url }).ready()
    for (const secretKey of [api.secretKey, undefined]) {
      const { cache, client, evaluate } = startClient(t, { api, url: store.url, role: 'reader', posthogOptions: { secretKey } })
      await cache.ensureFresh(client, 60_000)
      assert.equal(await evaluate(), api.version)
    }
  })

  test('waits until the client has an edit', async (t) => {
    const api = await standIn(t)
    const store = await STORES.redis()
    t.after(() => store.close())
    const options = { api, url: store.url, refreshIntervalMs: 100 }
    const [one, other] = [startClient(t, options), startClient(t, { ...options, commandTimeoutMs: 999 })]
    await Promise.all([one.ready(), other.ready()])
    const version = api.edit()
    while ((await one.evaluate()) !== version) await one.load()
    await other.cache.ensureFresh(other.client, 0)
    assert.equal(await other.evaluate(), version)
  })

  test('uses the wall clock, and reloads if the clock was set back', async (t) => {
    const api = await standIn(t)
    const { cache, client, ready } = startClient(t, { api, url: 'memory:' })
    await ready()
    let reloads = 0
    const counting = {
      async reloadFeatureFlags() {
        reloads += 1
      },
    }
    await cache.ensureFresh(counting, 1_000)
    assert.equal(reloads, 1)
    await cache.getFlagDefinitions()
    await cache.ensureFresh(counting, 1_000)
    assert.equal(reloads, 1)
    const { now } = Date
    for (const [later, expected] of [
      [2_000, 2],
      [-3_600_000, 3],
      [0, 3],
    ]) {
      t.mock.method(Date, 'now', () => now() + later)
      await cache.ensureFresh(counting, 1_000)
      assert.equal(reloads, expected, `${later} ms later`)
    }
    assert.ok(client)
  })

  test('rejects arguments that are not a client or not a time', async (t) => {
    const cache = openCache(t, memory())
    const client = { reloadFeatureFlags: async () => {} }
    for (const [posthog, maxAgeMs] of [[undefined, 1], [{}, 1], [client], [client, -1], [client, NaN], [client, '1s']]) {
      assert.equal((await failure(cache.ensureFresh(posthog, maxAgeMs))).code, 'ERR_FLAG_CACHE_OPTIONS')
    }
  })

  test('a reload that fails does not keep the next one from trying', async (t) => {
    const cache = openCache(t, memory())
    const failing = { reloadFeatureFlags: () => Promise.reject(new Error('no')) }
    await assert.rejects(cache.ensureFresh(failing, 0), /no/)
    await assert.rejects(cache.ensureFresh(failing, 0), /no/)
  })
})

test('a client with another project key is reported, and served all the same', async (t) => {
  const api = await standIn(t)
  const cache = openCache(t, memory())
  const told = []
  cache.onError((error) => told.push(error))
  const posthog = new PostHog(api.projectKey, { host: api.url, secretKey: api.secretKey, ...cache.clientOptions })
  t.after(() => posthog.shutdown())
  assert.equal(await posthog.waitForLocalEvaluationReady(10_000), true)
  assert.equal(told.length, 1)
  assert.equal(told[0].code, 'ERR_FLAG_CACHE_OPTIONS')
  assert.match(told[0].message, /another project/)
})

test('parameters of other clients in the url are reported once, to the first listener', (t) => {
  const cache = openCache(t, { projectKey: newProjectKey(), url: 'redis://127.0.0.1:1?family=0&protocol=3' })
  const told = [[], []]
  for (const heard of told) cache.onError((error) => heard.push(error))
  const warning =
    "option 'url' has parameters without effect: family, protocol. They may stay there for other programs. For this cache, use its options instead."
  assert.deepEqual(
    told.map((heard) => heard.map(({ code, message }) => [code, message])),
    [[['ERR_FLAG_CACHE_OPTIONS', warning]], []],
  )
})

test('an empty url counts as not set', (t) => {
  const cache = openCache(t, { projectKey: newProjectKey(), url: '' })
  assert.equal(cache.status().backend.kind, 'directory')
})

test('an option error is printed once', () => {
  const printed = inspect(failureOf(() => new FlagDefinitionCache({ projectKey: 'phc_a b' })))
  assert.equal(printed.match(/cannot be part of a key/g).length, 1, printed)
})

function failureOf(work) {
  try {
    work()
  } catch (error) {
    return error
  }
}
