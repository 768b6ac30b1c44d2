// Definitions that are none: nobody publishes them.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { failure, openCache, publish } from '../support/client.mjs'
import { newProjectKey } from '../support/stores.mjs'

const cyclic = { flags: [] }
cyclic.self = cyclic

/** What nobody may publish. */
const BAD_DATA = {
  nothing: undefined,
  null: null,
  'a number': 7,
  'a string': '{"flags":[]}',
  'a symbol': Symbol('flags'),
  'a function': () => ({ flags: [] }),
  'an array': [],
  'no flags': {},
  'flags that are undefined': { flags: undefined },
  'flags that are null': { flags: null },
  'flags that are an object': { flags: { length: 0 } },
  'flags that are a Map': { flags: new Map() },
  'flags that are names': { flags: ['maintenance'] },
  'a flag that is null': { flags: [{ key: 'a' }, null] },
  'a flag that is an array': { flags: [['key']] },
  'a flag without a key': { flags: [{ id: 1 }] },
  'a flag whose key is no string': { flags: [{ key: 7 }] },
  'more flags than are allowed': { flags: Array(70_000).fill({ key: 'a' }) },
  'a flag that is larger than allowed': { flags: [{ key: 'a', filters: 'x'.repeat(9e6) }] },
  'a cycle': cyclic,
  'a bigint inside': { flags: [{ id: 7n }] },
  'a toJSON that returns nothing': { flags: [], toJSON: () => undefined },
  'a toJSON that returns an array': { flags: [], toJSON: () => [] },
  'a toJSON that throws': {
    flags: [],
    toJSON() {
      throw new TypeError('no')
    },
  },
  'a getter that throws': {
    get flags() {
      throw new TypeError('no')
    },
  },
}

describe('onFlagDefinitionsReceived() refuses', () => {
  for (const [what, data] of Object.entries(BAD_DATA)) {
    test(what, async (t) => {
      const options = { projectKey: newProjectKey(), url: 'memory:' }
      const cache = openCache(t, options)
      assert.equal(await cache.shouldFetchFlagDefinitions(), true)
      const error = await failure(cache.onFlagDefinitionsReceived(data))
      assert.equal(error.code, what.includes('allowed') ? 'ERR_FLAG_CACHE_TOO_LARGE' : 'ERR_FLAG_CACHE_DATA')
      assert.match(error.message, /^the flag definitions /)
      assert.ok(error.cause instanceof Error)
      assert.equal(await cache.getFlagDefinitions(), undefined)

      // Nothing of it was kept: good data goes the same way afterwards.
      await cache.onFlagDefinitionsReceived({ flags: [{ key: 'good' }] })
      const found = await openCache(t, options).getFlagDefinitions()
      assert.deepEqual(found, { flags: [{ key: 'good' }] })
      await failure(cache.onFlagDefinitionsReceived(data))
      assert.deepEqual(await openCache(t, options).getFlagDefinitions(), found)
    })
  }
})

test('what toJSON returns is what is published', async (t) => {
  const options = { projectKey: newProjectKey(), url: 'memory:' }
  await publish(openCache(t, options), { toJSON: () => ({ flags: [], at: new Date(0) }) })
  assert.deepEqual(await openCache(t, options).getFlagDefinitions(), { flags: [], at: '1970-01-01T00:00:00.000Z' })
})
