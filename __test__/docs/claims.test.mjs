// What the docs say that no snippet shows: of fleets that are not all alike, and of posthog-node's versions.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { PostHog } from 'posthog-node'

import { sleep } from '../../dev/harness/clock.mjs'
import { DocstringProvider } from '../../dev/peers/docstring.mjs'
import { runNode } from '../support/child.mjs'
import { failure, openCache, publish, standIn } from '../support/client.mjs'
import { startSharing } from '../support/shared.mjs'
import { newProjectKey, redisFor } from '../support/stores.mjs'

const POLL_MS = 30_000

/** Prints for how long the process goes on after posthog-node has shut down, whose limit is 1 s. */
const LEAVE = `
  const { PostHog } = require('posthog-node-' + process.env.VERSION)
  const { FlagDefinitionCache } = require('posthog-flag-cache')
  const client = new PostHog('phc_leave', {
    secretKey: 'phs_stand_in',
    personalApiKey: 'phs_stand_in',
    flagDefinitionCacheProvider: new FlagDefinitionCache({ projectKey: 'phc_leave', url: 'memory:' }),
    fetch: async () => Response.json({ flags: [] }),
  })
  client.waitForLocalEvaluationReady(5_000).then(() => client.shutdown(1_000)).then(() => {
    const leftAt = Date.now()
    process.once('exit', () => process.stdout.write(String(Date.now() - leftAt)))
  })
`

/** A client with posthog-node's example of a provider, which loads when it is told to. */
function startOld(t, api, redis) {
  const client = new PostHog(api.projectKey, {
    host: api.url,
    secretKey: api.secretKey,
    featureFlagsPollingInterval: 3_600_000,
    flagDefinitionCacheProvider: new DocstringProvider(redis.client(), api.projectKey, POLL_MS),
  })
  t.after(() => client.shutdown())
  return client
}

test('beside the provider of posthog-node’s example the new half pays for one fetch, and the keys are apart', async (t) => {
  const redis = await redisFor(t)
  const api = await standIn(t)
  const old = startOld(t, api, redis)
  assert.ok(await old.waitForLocalEvaluationReady(10_000))
  const oldKey = `posthog:flags:${api.projectKey}`
  const before = await redis.client().get(oldKey)
  const { length } = api.calls

  const fleet = [1, 2].map(() => startSharing(t, { api, url: redis.url }))
  for (const { ready } of fleet) assert.ok(await ready())
  assert.deepEqual(
    api.calls.slice(length).map(({ status }) => status),
    [200],
  )

  const ours = [`posthog:flags:{${api.projectKey}}`, `posthog:flags:{${api.projectKey}}:state`]
  await old.reloadFeatureFlags()
  assert.equal(await redis.client().get(oldKey), before)
  const keys = (await redis.client().keys('*')).filter((key) => key !== `${oldKey}:lock`)
  assert.deepEqual(keys.sort(), [oldKey, ...ours].sort())
  // The example gives its definitions 300 s, and its lock 60 s.
  assert.ok((await redis.client().ttl(oldKey)) > 290)
  for (const { errors, troubles } of fleet) assert.deepEqual([errors, troubles], [[], []])
})

test('a state with a field of another version is used, and the field is left alone', async (t) => {
  const redis = await redisFor(t)
  const options = { projectKey: newProjectKey(), url: redis.url, refreshIntervalMs: 100 }
  const stateKey = `posthog:flags:{${options.projectKey}}:state`
  const cache = openCache(t, options)
  await publish(cache, { flags: [] })
  await redis.client().hset(stateKey, 'next_years', '1')
  await sleep(options.refreshIntervalMs)
  await publish(cache, { flags: [{ key: 'new' }] })
  assert.equal(await redis.client().hget(stateKey, 'next_years'), '1')
  assert.equal((await cache.getFlagDefinitions()).flags[0].key, 'new')
})

test('keys that are deleted come back with the next poll', async (t) => {
  const redis = await redisFor(t)
  const options = { projectKey: newProjectKey(), url: redis.url }
  const cache = openCache(t, options)
  await publish(cache, { flags: [] })
  await redis.client().flushall()
  assert.equal(await cache.shouldFetchFlagDefinitions(), false)
  assert.equal(await redis.client().exists(`posthog:flags:{${options.projectKey}}`), 1)
  assert.equal(cache.status().counters.heals, 1)
})

for (const [leaderMs, followerMs] of [
  [60_000, 30_000],
  [100, 60_000],
]) {
  test(`a fleet goes at the pace of its leader: ${leaderMs} ms, beside a process of ${followerMs} ms`, async (t) => {
    const redis = await redisFor(t)
    const options = { projectKey: newProjectKey(), url: redis.url }
    const leader = openCache(t, { ...options, refreshIntervalMs: leaderMs })
    const follower = openCache(t, { ...options, refreshIntervalMs: followerMs })
    await publish(leader, { flags: [] })
    await sleep(100)
    assert.equal(await follower.shouldFetchFlagDefinitions(), false)
    assert.equal(await leader.shouldFetchFlagDefinitions(), leaderMs === 100)
  })
}

test('a process takes over from a leader whose lease lasts more than twice as long as its own would', async (t) => {
  const redis = await redisFor(t)
  const options = { projectKey: newProjectKey(), url: redis.url }
  const leader = openCache(t, { ...options, refreshIntervalMs: 60_000 })
  await publish(leader, { flags: [] })
  const hasty = openCache(t, { ...options, refreshIntervalMs: 100, leaseTtlMs: 150 })
  await sleep(100)
  assert.equal(await hasty.shouldFetchFlagDefinitions(), true)
})

test('a connection outlives the password that it logged in with, and the next one needs the new one', async (t) => {
  const redis = await redisFor(t)
  const acl = (...rules) => redis.client().call('ACL', 'SETUSER', 'flags', ...rules)
  await acl('on', '>old', '~*', '&*', '+@all')
  const options = { projectKey: newProjectKey(), url: redis.url, username: 'flags' }
  const running = openCache(t, { ...options, password: 'old' })
  await publish(running, { flags: [] })
  await acl('>new')
  const deployed = openCache(t, { ...options, password: 'new' })
  assert.deepEqual(await deployed.getFlagDefinitions(), { flags: [] })
  await acl('<old')
  assert.equal(await running.shouldFetchFlagDefinitions(), false)
  const late = openCache(t, { ...options, password: 'old', commandTimeoutMs: 999 })
  assert.equal((await failure(late.shouldFetchFlagDefinitions())).code, 'ERR_FLAG_CACHE_AUTH')
})

test('a user without a password needs only a user name', async (t) => {
  const redis = await redisFor(t)
  await redis.client().call('ACL', 'SETUSER', 'open', 'on', 'nopass', '~*', '&*', '+@all')
  const options = { projectKey: newProjectKey(), url: redis.url, username: 'open' }
  await publish(openCache(t, options), { flags: [] })
  assert.throws(() => openCache(t, { ...options, password: '' }), { code: 'ERR_FLAG_CACHE_OPTIONS' })
  const { username, ...others } = options
  const dynamic = openCache(t, { ...others, credentials: () => ({ username, password: '' }) })
  assert.equal((await failure(dynamic.getFlagDefinitions())).code, 'ERR_FLAG_CACHE_AUTH')
})

for (const [version, stays] of [
  ['5.14.0', true],
  ['5.34.2', true],
  ['5.45.0', true],
  ['5.50.0', false],
]) {
  test(`posthog-node ${version} ${stays ? 'keeps' : 'does not keep'} a process alive until the limit of shutdown() is over`, async () => {
    const { code, stdout, stderr } = await runNode(LEAVE, { env: { VERSION: version } })
    assert.equal(code, 0, stderr)
    const aliveMs = Number(stdout)
    assert.equal(aliveMs > 900, stays, `${aliveMs} ms`)
  })
}
