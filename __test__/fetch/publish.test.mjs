// What `flagCache.fetch` publishes of PostHog's answers.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { sleep } from '../../dev/harness/clock.mjs'
import { openCache, standIn } from '../support/client.mjs'
import { completed, nextUpdate, startSharing } from '../support/shared.mjs'
import { STORES } from '../support/stores.mjs'

let store
before(async () => (store = await STORES.redis()))
after(() => store.close())

describe('new definitions', () => {
  for (const kind of ['redis', 'directory']) {
    test(`are published as PostHog's text with its ETag, over ${kind}, and never written as JSON again`, async (t) => {
      const store = await STORES[kind]()
      t.after(() => store.close())
      const api = await standIn(t)
      const { cache, ready, fetch, errors, troubles } = startSharing(t, { api, url: store.url, refreshIntervalMs: 100 })
      await ready()
      api.edit((data) => Object.assign(data, { group_type_mapping: { 0: 'größe', 3: 'ort' }, 'a field of next year': [1.5e300, '\u2028'] }))
      const { mock } = t.mock.method(JSON, 'stringify')
      await fetch()
      const written = mock.calls.map(({ arguments: [value] }) => value)
      mock.restore()
      assert.ok(!written.some((value) => value?.flags ?? value?.cohorts), 'definitions were written as JSON')

      const text = String(await store.stored(api.projectKey))
      assert.ok(text.startsWith(api.text.slice(0, -1)), "PostHog's text, byte for byte")
      const published = JSON.parse(text)
      assert.deepEqual(published, completed(api.text))
      assert.deepEqual(published.groupTypeMapping, { 0: 'größe', 3: 'ort' })
      const { definitions, counters } = cache.status()
      assert.deepEqual([definitions.etag, definitions.flags, definitions.bytes], [api.etag, 24, Buffer.byteLength(text)])
      assert.equal(counters.publishes, 2)
      if (kind === 'redis') assert.equal(await store.client.hget(store.stateKey(api.projectKey), 'etag'), api.etag)

      const reader = openCache(t, { projectKey: api.projectKey, url: store.url, role: 'reader' })
      assert.deepEqual(await reader.getFlagDefinitions(), published)
      assert.deepEqual([errors, troubles], [[], []])
    })
  }

  test('of an emergency fill an empty cache, even if another process was told to fetch and never answers', async (t) => {
    const api = await standIn(t)
    const holder = openCache(t, { projectKey: api.projectKey, url: store.url })
    assert.equal(await holder.shouldFetchFlagDefinitions(), true)
    const told = nextUpdate(holder)
    const { ready, evaluate, cache, troubles } = startSharing(t, { api, url: store.url, coldStartWaitMs: 20 })
    await ready()
    assert.equal(await evaluate(), 'v1')
    const version = await told
    assert.equal(cache.status().definitions.version, version)
    assert.deepEqual(await holder.getFlagDefinitions(), completed(api.text))
    assert.equal(cache.status().counters.grants, 0)
    assert.deepEqual(troubles, [])
  })

  test('of an emergency stay with a process that may not write, without an error', async (t) => {
    const api = await standIn(t)
    const { load, evaluate, cache, errors, troubles } = startSharing(t, { api, url: store.url, role: 'reader', coldStartWaitMs: 0 })
    await load()
    assert.equal(await evaluate(), 'v1')
    await load()
    assert.equal(await store.stored(api.projectKey), undefined)
    assert.equal(api.calls.length, 1)
    assert.deepEqual([errors, troubles, cache.status().counters.errors], [[], [], {}])
  })

  test('come from the older path as well', async (t) => {
    const api = await standIn(t)
    const cache = openCache(t, { projectKey: api.projectKey, url: store.url, refreshIntervalMs: 100 })
    const options = { method: 'GET', headers: { Authorization: `Bearer ${api.secretKey}` } }
    const load = async () => {
      while (!(await cache.shouldFetchFlagDefinitions())) await sleep(100)
      return cache.fetch(`${api.url}/api/feature_flag/local_evaluation?token=${api.projectKey}&send_cohorts`, options)
    }
    const data = await (await load()).json()
    await cache.onFlagDefinitionsReceived(data)
    assert.equal(cache.status().definitions.etag, api.etag)
    assert.equal(await (await load()).json(), data)
    assert.deepEqual(
      api.calls.map(({ sentEtag, status }) => [sentEtag, status]),
      [
        [null, 200],
        [api.etag, 304],
      ],
    )
  })

  test('of a fetch that knows only what posthog-node needs of a response are shared alike', async (t) => {
    const api = await standIn(t)
    const inner = async (...request) => {
      const response = await globalThis.fetch(...request)
      const { status, headers } = response
      return { status, headers: { get: (name) => headers.get(name) }, text: () => response.text(), json: () => response.json() }
    }
    const { cache, fetch, ready } = startSharing(t, { api, inner, url: store.url, refreshIntervalMs: 100 })
    await ready()
    assert.equal(cache.status().definitions.etag, api.etag)
    await fetch()
    assert.equal(cache.status().counters.confirms, 1)
  })
})
