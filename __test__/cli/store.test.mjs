// status, get and purge: what they show of a store, and what becomes of it.

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { describe, test } from 'node:test'

import { cli, cliAtTerminal, environment, terminal } from '../support/cli.mjs'
import { elsewhere, openCache, publish, standIn, startClient } from '../support/client.mjs'
import { startSharing } from '../support/shared.mjs'
import { newProjectKey, STORES } from '../support/stores.mjs'

// biome-ignore format: many values to a line
const FIELDS = [
  'projectKey', 'backend', 'time', 'definitions', 'damage', 'leader', 'leaseRemainingMs', 'fence', 'lastGrantMsAgo',
  'invalidatedMsAgo', 'failedFetches', 'refusedMsAgo', 'outdatedMsAgo', 'retryInMs', 'expiresInMs', 'roundTripMs',
]
const DATA = { flags: [{ key: 'a', name: 'Größe' }, { key: 'b' }], cohorts: { 1: {}, 2: {}, 3: {} }, new: 1.5 }

for (const kind of ['redis', 'directory']) {
  describe(`over ${kind}`, () => {
    /** A store, a project in it, and the variables that name both. */
    async function open(t) {
      const store = await STORES[kind]()
      t.after(() => store.close())
      const projectKey = newProjectKey()
      return { store, projectKey, env: environment({ url: store.url, projectKey }) }
    }

    test('status of an empty store says so, and exits with 1', async (t) => {
      const { env, projectKey, store } = await open(t)
      const { code, stdout, stderr } = await cli(['status'], { env })
      assert.deepEqual([code, stderr], [1, ''])
      assert.match(stdout, /^definitions +none$/m)
      const json = await cli(['status', '--json'], { env })
      const { backend, time, roundTripMs, ...rest } = JSON.parse(json.stdout)
      assert.equal(json.code, 1)
      assert.equal(backend.kind, kind)
      assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000, time)
      assert.ok(roundTripMs >= 0)
      assert.deepEqual(rest, {
        projectKey,
        definitions: null,
        damage: null,
        leader: null,
        leaseRemainingMs: null,
        fence: 0,
        lastGrantMsAgo: null,
        invalidatedMsAgo: null,
        failedFetches: 0,
        refusedMsAgo: null,
        outdatedMsAgo: null,
        retryInMs: null,
        expiresInMs: null,
      })
      assert.equal(await store.stored(projectKey), undefined, 'it writes nothing')
    })

    test('status of a fleet whose fetches fail shows the failures, and since when', async (t) => {
      const { env, projectKey, store } = await open(t)
      const api = await standIn(t, { projectKey })
      t.mock.method(console, 'warn', () => {})
      const { cache, ready, load } = startSharing(t, { api, url: store.url, refreshIntervalMs: 60_000 })
      await ready()
      api.always(402)
      await cache.invalidate()
      await load()
      const { stdout } = await cli(['status'], { env })
      assert.match(stdout, /^failing +1 consecutive failed fetch;/m)
      assert.match(stdout, /^refused +PostHog answered 402 \(quota exceeded\) .* ago$/m)
      assert.doesNotMatch(stdout, /^outdated/m)
    })

    test('status shows what a fleet shares, and its leader', async (t) => {
      const { env, projectKey, store } = await open(t)
      const api = await standIn(t, { projectKey })
      const { cache, ready } = startSharing(t, { api, url: store.url, refreshIntervalMs: 60_000, maxAgeMs: 3_600_000 })
      await ready()
      const { stdout, code } = await cli(['status', '--json'], { env })
      const status = JSON.parse(stdout)
      const held = cache.status()
      assert.equal(code, 0)
      assert.deepEqual(Object.keys(status), FIELDS)
      const { publishedMsAgo, confirmedMsAgo, ...definitions } = status.definitions
      const { version, etag, flags, bytes, storedBytes } = held.definitions
      assert.deepEqual(definitions, { version, etag, flags, cohorts: 2, bytes, storedBytes })
      assert.deepEqual([status.leader, status.fence], [held.worker, 1])
      assert.ok(status.leaseRemainingMs > 0 && status.leaseRemainingMs <= 90_000, stdout)
      assert.ok(status.expiresInMs > 0 && status.expiresInMs <= 3_600_000, stdout)
      for (const ago of [publishedMsAgo, confirmedMsAgo, status.lastGrantMsAgo]) assert.ok(ago >= 0 && ago < 60_000, stdout)

      const { stdout: table } = await cli(['status'], { env })
      for (const text of [version, etag, `${held.worker}, lease ends in `, '24 flags, 2 cohorts, 11.'])
        assert.ok(table.includes(text), table)
      assert.equal(cache.status().isLeader, true)
      assert.equal(api.calls.length, 1, 'it does not call PostHog')
    })

    test('status of corrupt definitions says so, and exits with 1', async (t) => {
      const { env, projectKey, store } = await open(t)
      await publish(openCache(t, { url: store.url, projectKey }), DATA)
      await store.damage(projectKey, Buffer.from('{"flags":[]}'))
      const { code, stdout } = await cli(['status'], { env })
      assert.equal(code, 1)
      assert.match(stdout, /^definitions +ERR_FLAG_CACHE_CORRUPT: .*another program changed them/m)
      assert.match(JSON.parse((await cli(['status', '--json'], { env })).stdout).damage, /^ERR_FLAG_CACHE_CORRUPT/)
      const got = await cli(['get'], { env })
      assert.deepEqual([got.code, got.stdout], [1, ''])
      assert.match(got.stderr, /^error \[ERR_FLAG_CACHE_CORRUPT\]/)
    })

    for (const compression of ['none', 'zstd']) {
      test(`get prints the text that was stored, compressed (${compression}) or not`, async (t) => {
        const { env, projectKey, store } = await open(t)
        await publish(openCache(t, { url: store.url, projectKey, compression }), DATA)
        const { code, stdout, stderr } = await cli(['get'], { env })
        assert.deepEqual([code, stdout, stderr], [0, JSON.stringify(DATA), ''])
      })
    }

    test('get --flag prints one flag, or says that there is none', async (t) => {
      const { env, projectKey, store } = await open(t)
      const empty = await cli(['get'], { env })
      assert.deepEqual([empty.code, empty.stdout], [1, ''])
      assert.match(empty.stderr, /no definitions for this project/)
      await publish(openCache(t, { url: store.url, projectKey }), DATA)
      assert.deepEqual(JSON.parse((await cli(['get', '--flag', 'a'], { env })).stdout), DATA.flags[0])
      const missing = await cli(['get', '--flag', 'c'], { env })
      assert.deepEqual([missing.code, missing.stdout], [1, ''])
      assert.match(missing.stderr, /none of the 2 flags has this key/)
    })

    test('purge deletes only this project, and says whether there was anything', async (t) => {
      const { env, projectKey, store } = await open(t)
      const other = newProjectKey()
      for (const key of [projectKey, other]) await publish(openCache(t, { url: store.url, projectKey: key }), DATA)
      const purged = await cli(['purge', '--yes'], { env })
      assert.deepEqual([purged.code, purged.stdout, purged.stderr], [0, 'deleted the definitions and the state\n', ''])
      assert.equal(await store.stored(projectKey), undefined)
      assert.equal(String(await store.stored(other)), JSON.stringify(DATA))
      // The lock stays: a process that has it open would no longer exclude one that makes it anew.
      if (kind === 'directory') assert.deepEqual(readdirSync(store.projectPath(projectKey)), ['lock'])
      else assert.deepEqual(await store.client.keys(`*${projectKey}*`), [])
      assert.deepEqual(JSON.parse((await cli(['purge', '--yes', '--json'], { env })).stdout), { purged: false })
    })

    test('a purge that is not confirmed deletes nothing', async (t) => {
      const { env, projectKey, store } = await open(t)
      await publish(openCache(t, { url: store.url, projectKey }), DATA)
      const { code } = await cli(['purge'], { env })
      assert.equal(code, 2)
      assert.equal(String(await store.stored(projectKey)), JSON.stringify(DATA))
    })

    test('a reader cannot purge', async (t) => {
      const { env, projectKey, store } = await open(t)
      await publish(openCache(t, { url: store.url, projectKey }), DATA)
      const { code, stdout, stderr } = await cli(['purge', '--yes', '--role', 'reader'], { env })
      assert.deepEqual([code, stdout], [1, ''])
      assert.match(stderr, /^error \[ERR_FLAG_CACHE_READONLY\]/)
      assert.equal(String(await store.stored(projectKey)), JSON.stringify(DATA))
    })

    test('on a terminal purge asks, and accepts a no', terminal, async (t) => {
      const { env, projectKey, store } = await open(t)
      await publish(openCache(t, { url: store.url, projectKey }), DATA)
      const prompt = '[y/N] '
      const refused = await cliAtTerminal(['purge'], { env, prompt, input: '\n' })
      assert.equal(refused.code, 1)
      assert.match(refused.stdout, new RegExp(`of ${projectKey} in .*nothing was deleted`, 's'))
      assert.ok(await store.stored(projectKey))
      const confirmed = await cliAtTerminal(['purge'], { env, prompt, input: 'y\n' })
      assert.equal(confirmed.code, 0, confirmed.stdout)
      assert.equal(await store.stored(projectKey), undefined)
    })

    test('running processes restore what was purged, without a fetch', async (t) => {
      const { env, projectKey, store } = await open(t)
      const api = await standIn(t, { projectKey })
      const clients = [1, 2].map(() => startClient(t, { api, url: store.url, refreshIntervalMs: 60_000, ...elsewhere() }))
      for (const { ready } of clients) await ready()
      const { version } = clients[0].cache.status().definitions
      assert.equal((await cli(['purge', '--yes'], { env })).code, 0)
      await clients[1].load()
      assert.equal(JSON.parse((await cli(['status', '--json'], { env })).stdout).definitions.version, version)
      await clients[0].load()
      assert.equal(api.calls.length, 1)
    })
  })
}
