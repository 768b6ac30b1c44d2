// Whatever becomes of the stored definitions or their state: posthog-node keeps evaluating, and the store heals.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { definitions } from '../../dev/harness/definitions.mjs'
import { BROKEN_STATES } from '../support/broken-states.mjs'
import { cli, environment } from '../support/cli.mjs'
import { elsewhere, failure, openCache, standIn, startClient } from '../support/client.mjs'
import { STORES } from '../support/stores.mjs'
import { zstdFrame } from '../support/zstd.mjs'

const TEXT = JSON.stringify(definitions({ version: 'v1' }))

/** What may have become of the stored bytes: `[bytes, or what makes them, what the error says]`. */
const DAMAGE = {
  'is empty': ['', /are not flag definitions/],
  'is truncated': [TEXT.slice(0, -1), /are not flag definitions/],
  'is not UTF-8': [Buffer.from(TEXT, 'latin1'), /are not UTF-8/],
  'is UTF-16': [Buffer.from(TEXT, 'utf16le'), /are not/],
  'is not JSON': ['<!doctype html><title>Bad gateway</title>', /are not flag definitions/],
  'is null': ['null', /are not flag definitions/],
  'is a number': ['1e999', /are not flag definitions/],
  'is an array': [`[${TEXT}]`, /are not flag definitions/],
  'has no flags': ['{"cohorts":{}}', /missing field `flags`/],
  'has an object as flags': ['{"flags":{}}', /`flags` is not an array/],
  'has names as flags': ['{"flags":["maintenance"]}', /expected a flag, an object with a string `key`/],
  'has null as a flag': ['{"flags":[null]}', /expected a flag, an object with a string `key`/],
  'has a flag without a key': ['{"flags":[{"key":"a","k\\u0065y":1}]}', /a flag has no string `key`/],
  'is too large for JavaScript': [
    `{"flags":[],"x":[[${'[],'.repeat(200_000)}[]]]}`,
    /JSON values and keys of one flag, .* exceed the limit of 100000/,
  ],
  'begins as a patch does': ['PATCH2:', /are not flag definitions/],
  'looks like a patch to what is held': [({ version }) => `PATCH2:${version}`, /are not flag definitions/],
  'is followed by something else': [`${TEXT} ${TEXT}`, /are not flag definitions/],
  'is nested a million times': [`{"flags":${'['.repeat(1_000_000)}`, /are not flag definitions/],
  'is a truncated zstd frame': [zstdFrame(TEXT).subarray(0, 100), /cannot be decompressed/],
  'is zstd in name only': [Buffer.concat([zstdFrame('').subarray(0, 4), Buffer.from(TEXT)]), /cannot be decompressed/],
  'is a compressed bomb': [zstdFrame('{"flags":[]', 300 * 2 ** 20, '}'), /expands to more than 67108864 bytes/],
  'is compressed by a foreign writer': [zstdFrame(JSON.stringify({ flags: [] })), /their hash is not their version/],
  'is valid JSON of a foreign writer': [JSON.stringify({ flags: [], cohorts: {} }), /another program changed them/],
}

for (const kind of ['redis', 'directory']) {
  describe(`definitions in the ${kind}`, () => {
    let store
    before(async () => (store = await STORES[kind]()))
    after(() => store.close())

    /** A stand-in for PostHog, a client that polls and evaluates what it published, and the bytes of that. */
    async function published(t) {
      const api = await standIn(t)
      const { projectKey } = api
      const holder = startClient(t, { api, url: store.url, pollingIntervalMs: 100 })
      await holder.ready()
      const { version } = holder.cache.status().definitions
      return { projectKey, api, holder, version, healthy: await store.stored(projectKey) }
    }

    async function assertEvaluates(client) {
      assert.equal(await client.evaluate(), 'v1')
      assert.deepEqual(client.errors, [])
    }

    async function assertHealed({ projectKey, healthy }) {
      const found = await store.stored(projectKey)
      assert.ok(found?.equals(healthy), `the store holds ${String(found).slice(0, 100)}`)
    }

    /** Where nobody holds good ones any more, the next client fetches them anew. */
    async function assertFetchedAnew(t, setting, damage) {
      await setting.holder.client.shutdown()
      await damage()
      const newcomer = startClient(t, { api: setting.api, url: store.url, ...elsewhere() })
      await newcomer.ready()
      await assertEvaluates(newcomer)
      await assertHealed(setting)
    }

    for (const [what, [bytes, message]] of Object.entries(DAMAGE)) {
      test(`heal where their text ${what}`, async (t) => {
        const setting = await published(t)
        const { projectKey, api, holder } = setting
        const damage = () => store.damage(projectKey, Buffer.from(typeof bytes === 'function' ? bytes(setting) : bytes))
        await damage()
        const reader = openCache(t, { projectKey, url: store.url, role: 'reader', coldStartWaitMs: 0, ...elsewhere() })
        const error = await failure(reader.getFlagDefinitions())
        assert.equal(error.code, 'ERR_FLAG_CACHE_CORRUPT')
        assert.match(error.message, message)

        // Who holds that version does not load it again. A newcomer does, and finds the damage.
        const newcomer = startClient(t, { api, url: store.url, coldStartWaitMs: 1_000, ...elsewhere() })
        await newcomer.ready()
        await assertEvaluates(newcomer)
        await assertEvaluates(holder)
        assert.equal(api.calls.length, 1, 'who holds good ones puts them back without asking PostHog')
        await assertHealed(setting)

        await newcomer.client.shutdown()
        await assertFetchedAnew(t, setting, damage)
        assert.equal(api.count(200), 2)
      })
    }

    test('that look like a patch are reported as corrupt by status and doctor', async (t) => {
      const { projectKey } = await published(t)
      await store.damage(projectKey, Buffer.from('PATCH2:'))
      const env = environment({ url: store.url, projectKey })
      const status = await cli(['status', '--json'], { env })
      assert.match(
        JSON.parse(status.stdout).damage,
        /^ERR_FLAG_CACHE_CORRUPT: the stored definitions are corrupt: they are not flag definitions/,
      )
      const doctor = await cli(['doctor'], { env })
      assert.match(doctor.stdout, /^error +definitions +the stored definitions are corrupt: they are not flag definitions/m)
    })

    for (const [what, damage] of Object.entries(BROKEN_STATES[kind])) {
      test(`heal where ${what}`, async (t) => {
        const setting = await published(t)
        const { projectKey, api, holder } = setting
        await damage(store, projectKey)
        await holder.load()
        await assertEvaluates(holder)
        await assertHealed(setting)
        assert.equal(api.count(200), 1, 'who holds good ones puts them back without fetching them')
        assert.deepEqual(await openCache(t, { projectKey, url: store.url }).getFlagDefinitions(), JSON.parse(setting.healthy))
        await assertFetchedAnew(t, setting, () => damage(store, projectKey))
      })
    }
  })
}
