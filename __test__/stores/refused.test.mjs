// A store that answers, but refuses: posthog-node goes on, and whoever looks learns why, but no secret.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'

import { sleep } from '../../dev/harness/clock.mjs'
import { failure, openCache, publish, standIn, startClient } from '../support/client.mjs'
import { closedPort, newProjectKey, redisFor } from '../support/stores.mjs'

describe('a Redis that refuses', () => {
  test('the password: says so, without the password, and posthog-node fetches for itself', async (t) => {
    const redis = await redisFor(t, { args: ['--requirepass', 'the-right-one'] })
    const api = await standIn(t)
    for (const url of [redis.url, redis.url.replace('//', '//:s3cret@'), redis.url.replace('//', '//nobody:s3cret@')]) {
      const client = startClient(t, { api, url })
      await client.ready()
      assert.equal(await client.evaluate(), 'v1')
      const error = await failure(client.cache.getFlagDefinitions())
      assert.equal(error.code, 'ERR_FLAG_CACHE_AUTH')
      assert.match(error.message, /^redis:\/\/127\.0\.0\.1:\d+\/0 (rejected the login|requires a password): /)
      const told = inspect([error, client.cache, client.errors], { showHidden: true, depth: null }) + error.stack
      assert.doesNotMatch(told, /s3cret|the-right-one/)
    }
    const options = { projectKey: newProjectKey(), url: redis.url, password: 'the-right-one' }
    assert.equal(await openCache(t, options).shouldFetchFlagDefinitions(), true)
  })

  test('the permissions of our user: says so', async (t) => {
    const redis = await redisFor(t)
    await redis.client().call('ACL', 'SETUSER', 'reader', 'on', '>s3cret', '~*', '&*', '+@all', '-@scripting')
    const url = redis.url.replace('//', '//reader:s3cret@')
    const error = await failure(openCache(t, { projectKey: newProjectKey(), url }).getFlagDefinitions())
    assert.equal(error.code, 'ERR_FLAG_CACHE_AUTH')
    assert.doesNotMatch(inspect(error, { showHidden: true, depth: null }), /s3cret/)
  })

  test('writes, like a replica: says so, and still returns its definitions', async (t) => {
    const redis = await redisFor(t)
    const options = { projectKey: newProjectKey(), url: redis.url }
    const publisher = openCache(t, options)
    await publish(publisher, { flags: [] })
    await publisher.shutdown()
    await redis.client().call('REPLICAOF', '127.0.0.1', String(await closedPort()))
    const cache = openCache(t, { ...options, refreshIntervalMs: 100 })
    assert.deepEqual(await cache.getFlagDefinitions(), { flags: [] })
    // It is due, so that it would have to write, and what it holds is older than two intervals.
    await sleep(300)
    assert.equal((await failure(cache.shouldFetchFlagDefinitions())).code, 'ERR_FLAG_CACHE_READONLY')
  })

  test('writes because its memory is full: posthog-node fetches for itself', async (t) => {
    const redis = await redisFor(t)
    await redis.client().config('SET', 'maxmemory', '1')
    const api = await standIn(t)
    const client = startClient(t, { api, url: redis.url })
    await client.ready()
    assert.equal(await client.evaluate(), 'v1')
    assert.match(client.errors.join(), /FlagCacheError.* has no memory left: .*OOM/)
    assert.equal((await failure(client.cache.onFlagDefinitionsReceived({ flags: [] }))).code, 'ERR_FLAG_CACHE_UNAVAILABLE')
  })
})

test('a directory that cannot be used is reported, and posthog-node fetches for itself', async (t) => {
  const api = await standIn(t)
  const client = startClient(t, { api, url: 'file:///dev/null/directory' })
  await client.ready()
  assert.equal(await client.evaluate(), 'v1')
  assert.match(client.errors[0], /^Error in shouldFetchFlagDefinitions: FlagCacheError.* the directory \/dev\/null\/directory/)
})
