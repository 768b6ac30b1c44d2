// onError(): what fails outside a call, told to whoever listens and to nobody else.

import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { describe, test } from 'node:test'

import { sleep } from '../../dev/harness/clock.mjs'
import { startRedis } from '../../dev/harness/redis.mjs'
import { runNode } from '../support/child.mjs'
import { elsewhere, FlagCacheError, failure, openCache, publish, standIn } from '../support/client.mjs'
import { nextEvent, startSharing } from '../support/shared.mjs'
import { newProjectKey, STORES } from '../support/stores.mjs'

/** The next trouble of that code that `cache` tells of. */
function nextTrouble(cache, code, { timeoutMs = 30_000 } = {}) {
  const emitter = new EventEmitter()
  const stop = cache.onError((error) => emitter.emit('trouble', error))
  return nextEvent(emitter, 'trouble', (error) => error.code === code, { timeoutMs, what: code }).finally(stop)
}

describe('a listener of onError()', () => {
  for (const kind of ['redis', 'directory']) {
    test(`gets an error for corrupt definitions over ${kind}, once a minute`, async (t) => {
      const store = await STORES[kind]()
      t.after(() => store.close())
      const options = { projectKey: newProjectKey(), url: store.url }
      await publish(openCache(t, options), { flags: [], cohorts: {} })
      await store.damage(options.projectKey, Buffer.from('{"flags":['))
      const reader = openCache(t, { ...options, role: 'reader', coldStartWaitMs: 0, ...elsewhere() })
      const troubles = []
      reader.onError((error) => troubles.push(error))
      const told = nextTrouble(reader, 'ERR_FLAG_CACHE_CORRUPT')
      for (let n = 0; n < 5; n += 1) await failure(reader.getFlagDefinitions())
      const error = await told
      assert.ok(error instanceof FlagCacheError)
      assert.match(error.message, /corrupt/)
      // Another trouble comes after all of these.
      const other = nextTrouble(reader, 'ERR_FLAG_CACHE_API')
      await refused(reader, options.projectKey)
      await other
      assert.deepEqual(
        troubles.map(({ code }) => code),
        ['ERR_FLAG_CACHE_CORRUPT', 'ERR_FLAG_CACHE_API'],
      )
    })
  }

  test('gets an error for a lost connection without a call, once a minute, and without a password', async (t) => {
    const redis = await startRedis({ args: ['--requirepass', 's3cret'] })
    t.after(() => redis.stop())
    const cache = openCache(t, { projectKey: newProjectKey(), url: `redis://:s3cret@127.0.0.1:${redis.port}` })
    const troubles = []
    cache.onError((error) => troubles.push(error))
    await cache.getFlagDefinitions()
    const told = nextTrouble(cache, 'ERR_FLAG_CACHE_UNAVAILABLE')
    await redis.stop()
    const error = await told
    assert.ok(error instanceof FlagCacheError)
    assert.match(error.message, /^redis:\/\/127\.0\.0\.1:\d+\/0 cannot be reached: /)
    assert.doesNotMatch(`${error.stack}${error.cause?.message}`, /s3cret/)
    // It goes on trying to connect, and fails: the same within a minute.
    await sleep(1_000)
    assert.equal(troubles.length, 1)
  })

  test('gets an error for a store that was never reachable', async (t) => {
    const redis = await startRedis()
    await redis.stop()
    const cache = openCache(t, { projectKey: newProjectKey(), url: redis.url })
    const { message } = await nextTrouble(cache, 'ERR_FLAG_CACHE_UNAVAILABLE')
    assert.match(message, /cannot be reached/)
  })

  test('gets an error whose cause, if it has one, is an error as well', async (t) => {
    const redis = await startRedis()
    await redis.stop()
    const cache = openCache(t, { projectKey: newProjectKey(), url: redis.url })
    const { cause } = await nextTrouble(cache, 'ERR_FLAG_CACHE_UNAVAILABLE')
    assert.ok(cause === undefined || cause instanceof Error, `${typeof cause}`)
  })

  test('gets an earlier error that had no listener', async (t) => {
    const projectKey = newProjectKey()
    const cache = openCache(t, { projectKey, url: 'memory:' })
    await refused(cache, projectKey)
    const told = nextTrouble(cache, 'ERR_FLAG_CACHE_API', { timeoutMs: 5_000 })
    await refused(cache, projectKey)
    await told
  })

  test('is not called after it unsubscribed', async (t) => {
    const projectKey = newProjectKey()
    const cache = openCache(t, { projectKey, url: 'memory:' })
    const stop = cache.onError(() => assert.fail('it was told'))
    stop()
    stop()
    const told = nextTrouble(cache, 'ERR_FLAG_CACHE_API')
    await refused(cache, projectKey)
    await told
  })
})

/** Has PostHog refuse a request for the definitions. */
async function refused(cache, projectKey) {
  const fetch = cache.withFetch(async () => new Response(null, { status: 403 }))
  assert.equal((await fetch(`http://127.0.0.1:9/flags/definitions?token=${projectKey}`)).status, 403)
}

test('without a listener failures are silent: nothing on the console, no unhandled rejection', async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  const api = await standIn(t)
  const source = `
    const { FlagDefinitionCache } = require('posthog-flag-cache')
    const { PostHog } = require('posthog-node')
    const { host, projectKey, secretKey, url, pid } = JSON.parse(process.env.OPTIONS)
    const flagDefinitionCacheProvider = new FlagDefinitionCache({ projectKey, url, refreshIntervalMs: 100, commandTimeoutMs: 200 })
    const { fetch } = flagDefinitionCacheProvider
    const client = new PostHog(projectKey, { host, secretKey, featureFlagsPollingInterval: 1000, flagDefinitionCacheProvider, fetch })
    flagDefinitionCacheProvider.onUpdate(() => { throw new Error('a listener that throws') })
    const load = () => client.reloadFeatureFlags()
    client.waitForLocalEvaluationReady().then(async () => {
      process.kill(pid, 'SIGKILL')
      for (let n = 0; n < 4; n += 1) await load()
      await client.shutdown()
      process.stdout.write(JSON.stringify(flagDefinitionCacheProvider.status().counters.errors))
    })
  `
  const OPTIONS = JSON.stringify({ host: api.url, projectKey: api.projectKey, secretKey: api.secretKey, url: redis.url, pid: redis.pid })
  const { code, signal, stdout, stderr } = await runNode(source, { env: { OPTIONS }, timeoutMs: 30_000 })
  assert.deepEqual([code, signal, stderr], [0, null, ''])
  assert.ok(JSON.parse(stdout).ERR_FLAG_CACHE_UNAVAILABLE > 0, stdout)
})

describe('a polling interval', () => {
  test('that is not refreshIntervalMs is reported once, with the value to set', async (t) => {
    const api = await standIn(t)
    const { cache, troubles } = startSharing(t, { api, url: 'memory:', pollingIntervalMs: 200, refreshIntervalMs: 2_000 })
    assert.equal(cache.status().suggestedRefreshIntervalMs, null)
    const { message } = await nextTrouble(cache, 'ERR_FLAG_CACHE_OPTIONS')
    const { suggestedRefreshIntervalMs } = cache.status()
    assert.ok(suggestedRefreshIntervalMs >= 200 && suggestedRefreshIntervalMs < 400, `${suggestedRefreshIntervalMs}`)
    const [, actual, configured, value] = /polls every (\d+) ms, but refreshIntervalMs is (\d+)\. Set refreshIntervalMs to (\d+)/.exec(
      message,
    )
    assert.deepEqual([configured, value], ['2000', actual])
    assert.ok(value >= 200 && value < 400, value)
    await polls(cache, 4)
    assert.equal(troubles.length, 1)
  })

  test('that is refreshIntervalMs is not reported', async (t) => {
    const api = await standIn(t)
    const { cache, troubles } = startSharing(t, { api, url: 'memory:', pollingIntervalMs: 500, refreshIntervalMs: 500 })
    await polls(cache, 9)
    assert.equal(cache.status().suggestedRefreshIntervalMs, null)
    assert.deepEqual(troubles, [])
  })

  test('is not measured between loads one right after another', async (t) => {
    const api = await standIn(t)
    const { cache, load, troubles } = startSharing(t, { api, url: 'memory:', refreshIntervalMs: 30_000 })
    for (let n = 0; n < 50; n += 1) await load()
    assert.equal(cache.status().suggestedRefreshIntervalMs, null)
    assert.deepEqual(troubles, [])
  })
})

/** Resolves after so many more polls. */
async function polls(cache, n) {
  const count = () => cache.status().counters.grants + cache.status().counters.follows
  const end = count() + n
  while (count() < end) await sleep(50)
}
