// status(): what a process knows of itself and its fleet, told without asking anybody.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { describe, test } from 'node:test'

import { startRedis } from '../../dev/harness/redis.mjs'
import { elsewhere, failure, openCache, standIn } from '../support/client.mjs'
import { startSharing } from '../support/shared.mjs'
import { closedPort, newProjectKey, STORES } from '../support/stores.mjs'

const UNTOUCHED = {
  grants: 0,
  follows: 0,
  unchanged: 0,
  loads: 0,
  publishes: 0,
  confirms: 0,
  superseded: 0,
  heals: 0,
  waits: 0,
  errors: {},
  requestsBilled: 0,
  requestsSaved: 0,
}

/** The fields of an interface in index.d.ts as paths: `a`, `a.b`, … */
function fieldsOf(name) {
  const text = readFileSync(new URL('../../index.d.ts', import.meta.url), 'utf8').replace(/\/\*\*.*?\*\//gs, '')
  const lines = text
    .slice(text.indexOf(`export interface ${name} {`))
    .split('\n')
    .slice(1)
  const [fields, path] = [[], []]
  for (const line of lines) {
    const [, field, rest] = /^\s*(\w+)\??: (.*)$/.exec(line) ?? []
    if (field) fields.push([...path, field].join('.'))
    if (rest === '{') path.push(field)
    else if (/^\s*\}/.test(line) && path.pop() === undefined) return fields
  }
}

/** The same of a value; what `errors` holds are codes. */
function fieldsIn(value, path = []) {
  if (value === null || typeof value !== 'object' || path.at(-1) === 'errors') return []
  return Object.entries(value).flatMap(([name, inner]) => [[...path, name].join('.'), ...fieldsIn(inner, [...path, name])])
}

const within = (value, least, most) => assert.ok(value >= least && value <= most, `${value} is not from ${least} to ${most}`)

test('before any contact status() knows nothing, and opens no connection', async (t) => {
  const projectKey = newProjectKey()
  const cache = openCache(t, { projectKey, url: `redis://user:s3cret@127.0.0.1:${await closedPort()}/3`, role: 'reader' })
  const { worker, backend, ...others } = cache.status()
  assert.ok(worker.startsWith(`${hostname()}:${process.pid}:`), worker)
  assert.match(backend.location, /^redis:\/\/127\.0\.0\.1:\d+\/3$/)
  assert.deepEqual({ ...backend, location: '' }, { kind: 'redis', location: '', server: null, protocol: null, notices: null })
  assert.deepEqual(others, {
    projectKey,
    role: 'reader',
    isLeader: false,
    leader: null,
    fence: 0,
    definitions: null,
    lastGrantMsAgo: null,
    retryInMs: null,
    failedFetches: 0,
    fleetFailedFetches: 0,
    suggestedRefreshIntervalMs: null,
    roundTripMs: null,
    counters: UNTOUCHED,
  })
})

test('after shutdown() it still shows the last known state', async (t) => {
  const api = await standIn(t)
  const { client, cache, ready } = startSharing(t, { api, url: 'memory:' })
  await ready()
  await client.shutdown()
  assert.equal(cache.status().definitions.etag, api.etag)
  assert.equal(cache.status().isLeader, false)
  assert.equal((await failure(cache.getFlagDefinitions())).code, 'ERR_FLAG_CACHE_CLOSED')
})

for (const kind of ['redis', 'directory', 'memory']) {
  describe(`status() over ${kind}`, () => {
    test('follows the story of a leader and a follower', async (t) => {
      const store = await STORES[kind]()
      t.after(() => store.close())
      const api = await standIn(t, { flags: 200 })
      const options = { api, url: store.url, refreshIntervalMs: 60_000, compression: 'zstd' }
      const leader = startSharing(t, options)
      await leader.load()
      const follower = startSharing(t, options)
      await follower.load()
      const [first, second] = [leader.cache.status(), follower.cache.status()]

      assert.deepEqual([first.role, first.isLeader, first.leader, first.fence], ['auto', true, first.worker, 1])
      assert.deepEqual([second.role, second.isLeader, second.leader, second.fence], ['auto', false, first.worker, 1])
      assert.notEqual(first.worker, second.worker)
      assert.deepEqual(first.counters, { ...UNTOUCHED, grants: 1, publishes: 1, requestsBilled: 10 })
      assert.deepEqual(second.counters, { ...UNTOUCHED, follows: 1, loads: 1, requestsSaved: 10 })
      for (const { definitions, lastGrantMsAgo, roundTripMs, retryInMs } of [first, second]) {
        assert.match(definitions.version, /^[0-9a-f]{64}$/)
        assert.equal(definitions.version, first.definitions.version)
        assert.equal(definitions.etag, api.etag)
        assert.equal(definitions.flags, 200)
        assert.ok(definitions.bytes > Buffer.byteLength(api.text))
        assert.ok(definitions.storedBytes < definitions.bytes / 4)
        if (store.stored) assert.equal(definitions.storedBytes, (await store.stored(api.projectKey)).length)
        within(definitions.ageMs, 0, 30_000)
        within(lastGrantMsAgo, definitions.ageMs, 30_000)
        within(roundTripMs, 0, 30_000)
        assert.equal(retryInMs, null)
      }
      assert.deepEqual(fieldsIn(first).sort(), fieldsOf('FlagCacheStatus').sort(), 'index.d.ts tells of the same fields')

      // An edit, found because the follower was told of it.
      api.edit()
      await follower.cache.invalidate()
      await follower.load()
      await leader.load()
      const [third, fourth] = [leader.cache.status(), follower.cache.status()]
      assert.deepEqual([third.isLeader, third.leader, third.fence], [false, fourth.worker, 2])
      assert.equal(fourth.isLeader, true)
      assert.equal(third.definitions.version, fourth.definitions.version)
      assert.notEqual(third.definitions.version, first.definitions.version)
      assert.deepEqual(third.counters, { ...UNTOUCHED, grants: 1, publishes: 1, follows: 1, loads: 1, requestsBilled: 10 })
      assert.deepEqual([fourth.counters.grants, fourth.counters.publishes], [1, 1])

      // Time goes by without a contact.
      const later = leader.cache.status()
      assert.ok(later.definitions.ageMs >= third.definitions.ageMs && later.lastGrantMsAgo >= third.lastGrantMsAgo)
    })

    test('shows a pause, restores, and failures by their code', async (t) => {
      const store = await STORES[kind]()
      t.after(() => store.close())
      const api = await standIn(t)
      const { cache, load } = startSharing(t, { api, url: store.url, refreshIntervalMs: 60_000 })
      await load()
      if (store.lose) {
        await store.lose()
        await load()
        assert.equal(cache.status().counters.heals, 1)
        await store.damage(api.projectKey, Buffer.from('{"flags":['))
        const reader = openCache(t, { projectKey: api.projectKey, url: store.url, role: 'reader', coldStartWaitMs: 250, ...elsewhere() })
        assert.equal((await failure(reader.getFlagDefinitions())).code, 'ERR_FLAG_CACHE_CORRUPT')
        assert.deepEqual(reader.status().counters.errors, { ERR_FLAG_CACHE_CORRUPT: 1 }, 'one call failed')
        assert.equal(reader.status().definitions, null)
      }
      api.next(429, { retryAfter: 300 })
      await cache.invalidate()
      await load()
      within(cache.status().retryInMs, 200_000, 300_000)
      await failure(cache.onFlagDefinitionsReceived({ flags: 'none' }))
      await failure(cache.onFlagDefinitionsReceived({ flags: 'none' }))
      assert.equal(cache.status().counters.errors.ERR_FLAG_CACHE_DATA, 2)
    })

    test('shows the store, without its password', async (t) => {
      if (kind !== 'redis') {
        const store = await STORES[kind]()
        t.after(() => store.close())
        const cache = openCache(t, { projectKey: newProjectKey(), url: store.url })
        await cache.getFlagDefinitions()
        const { location, ...backend } = cache.status().backend
        assert.deepEqual(backend, { kind, server: null, protocol: null, notices: null })
        if (store.path) assert.ok(location.startsWith(store.path))
        return
      }
      const redis = await startRedis({ args: ['--requirepass', 's3cret'] })
      t.after(() => redis.stop())
      const cache = openCache(t, { projectKey: newProjectKey(), url: `redis://:s3cret@127.0.0.1:${redis.port}/2` })
      await cache.getFlagDefinitions()
      const { backend } = cache.status()
      assert.deepEqual([backend.kind, backend.location], ['redis', `redis://127.0.0.1:${redis.port}/2`])
      assert.match(backend.server, /^(redis|valkey) \d+\.\d+\.\d+$/)
      assert.deepEqual([backend.protocol, backend.notices], ['RESP3', 'push'])
      assert.doesNotMatch(JSON.stringify(cache.status()), /s3cret/)
    })
  })
}
