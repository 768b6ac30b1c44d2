// The option localCopy: a start while Redis is slow, and one while neither Redis nor PostHog can be reached.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'

import { NETWORK, startFaultProxy } from '../../dev/harness/fault-proxy.mjs'
import { startNode } from '../support/child.mjs'
import { cli, environment } from '../support/cli.mjs'
import { elsewhere, openCache, standIn, startClient } from '../support/client.mjs'
import { startSharing } from '../support/shared.mjs'
import { closedPort, redisFor, temporaryDirectory } from '../support/stores.mjs'

const unix = { skip: process.platform === 'win32' && 'there are no modes here' }

/** Starts, has the definitions, says so, and ends when its input does. */
const START = `
  const { PostHog } = require('posthog-node')
  const { FlagDefinitionCache } = require('posthog-flag-cache')
  const { projectKey, host, ...options } = JSON.parse(process.env.OPTIONS)
  const cache = new FlagDefinitionCache({ projectKey, ...options })
  const client = new PostHog(projectKey, {
    host, secretKey: 'phs_stand_in', flagDefinitionCacheProvider: cache, fetch: cache.fetch,
  })
  client.waitForLocalEvaluationReady(20_000).then((ready) => {
    console.log(JSON.stringify({ ready, definitions: cache.status().definitions }))
    process.stdin.resume().on('end', () => client.shutdown())
  })
`

/** The directory of the one copy below `localCopy`. */
function placeIn(localCopy) {
  const prefix = join(localCopy, 'posthog%3Aflags')
  const [name, ...others] = readdirSync(prefix)
  assert.deepEqual(others, [])
  return join(prefix, name)
}

const stateIn = (localCopy) => JSON.parse(readFileSync(join(placeIn(localCopy), 'state.json'), 'utf8'))

/** Resolves once `what` holds: the copy is written in the background. */
async function until(what) {
  const deadline = performance.now() + 20_000
  for (;;) {
    try {
      if (await what()) return
    } catch {
      // The files are not there yet.
    }
    assert.ok(performance.now() < deadline, `it never came: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/**
 * A host that has run a process of the fleet, and has lost Redis since: PostHog's stand-in, and the options of a cache. `port`:
 * where its Redis was.
 */
async function hostWithCopy(t, apiOptions) {
  const [redis, api] = [await redisFor(t), await standIn(t, apiOptions)]
  const localCopy = temporaryDirectory(t)
  const options = { api, url: redis.url, localCopy }
  const before = startSharing(t, { ...options, ...elsewhere() })
  assert.ok(await before.ready())
  await until(() => stateIn(localCopy).snapshot.etag === api.etag)
  await before.client.shutdown()
  await redis.stop()
  return { api, localCopy, port: redis.port, options: { ...options, connectTimeoutMs: 500 } }
}

/** Nobody listens there any more. */
async function losePostHog(api) {
  await api.close()
}

const held = ({ cache }) => cache.status().definitions

describe('while neither Redis nor PostHog can be reached, a process starts with the local copy', () => {
  test('and says so in status(), in onError() and on client.on("error")', async (t) => {
    const { api, options } = await hostWithCopy(t)
    await losePostHog(api)
    const client = startSharing(t, { ...options, ...elsewhere() })
    assert.ok(await client.ready())
    assert.equal(await client.evaluate(), 'v1')
    const { isLocalCopy, etag, flags, bytes, storedBytes, ageMs } = held(client)
    assert.deepEqual([isLocalCopy, etag, flags, storedBytes], [true, api.etag, JSON.parse(api.text).flags.length, 0])
    assert.ok(bytes >= api.text.length && ageMs >= 0)
    assert.match(client.errors[0], /^Error in shouldFetchFlagDefinitions: FlagCacheError \[ERR_FLAG_CACHE_UNAVAILABLE\]/)
    assert.ok(client.troubles.some(({ code, message }) => code === 'ERR_FLAG_CACHE_API' && /^cannot fetch/.test(message)))
    await client.load()
    assert.equal(await client.evaluate(), 'v1')
  })

  test("with whenUnavailable: 'stale', without a request, and without flagCache.fetch", async (t) => {
    const { api, options } = await hostWithCopy(t)
    const { length } = api.calls
    const client = startClient(t, { ...options, ...elsewhere(), whenUnavailable: 'stale' })
    assert.ok(await client.ready())
    assert.deepEqual([await client.evaluate(), held(client).isLocalCopy], ['v1', true])
    assert.deepEqual([client.errors, api.calls.length], [[], length])
  })

  for (const [who, given, posthogOptions] of [
    ['without a key', {}, { secretKey: undefined }],
    ["with role: 'reader'", { role: 'reader' }, {}],
  ]) {
    test(`a process ${who} too, without a request`, async (t) => {
      const { api, options } = await hostWithCopy(t)
      const { length } = api.calls
      const client = startClient(t, { ...options, ...elsewhere(), ...given, posthogOptions })
      assert.ok(await client.ready())
      assert.deepEqual([await client.evaluate(), held(client).isLocalCopy, api.calls.length], ['v1', true, length])
    })
  }

  for (const answer of [429, 500, 503, 'silence', 'cut', 'html', 'not-flags']) {
    test(`whatever PostHog's outage looks like: ${answer}`, async (t) => {
      const { api, options } = await hostWithCopy(t)
      api.always(answer)
      const client = startSharing(t, { ...options, ...elsewhere(), posthogOptions: { requestTimeout: 300 } })
      assert.ok(await client.ready())
      assert.deepEqual([await client.evaluate(), held(client).isLocalCopy], ['v1', true])
    })
  }

  test('but a key that PostHog rejects is reported to posthog-node', async (t) => {
    for (const answer of [401, 403]) {
      const { api, options } = await hostWithCopy(t)
      api.always(answer)
      const client = startSharing(t, { ...options, ...elsewhere() })
      await client.load()
      assert.equal(client.requests.at(-1).status, answer)
      assert.equal(await client.evaluate(), undefined)
    }
  })

  for (const [whenRefused, version] of [
    ['keep', 'v1'],
    ['clear', undefined],
  ]) {
    test(`and while PostHog refuses the project (402), whenRefused: '${whenRefused}' decides`, async (t) => {
      const { api, options } = await hostWithCopy(t)
      api.always(402)
      const client = startSharing(t, { ...options, ...elsewhere(), whenRefused })
      await client.load()
      assert.equal(await client.evaluate(), version)
    })
  }

  test('and has an edit as soon as PostHog answers', async (t) => {
    const { api, options, localCopy } = await hostWithCopy(t)
    api.always(503)
    const client = startSharing(t, { ...options, ...elsewhere() })
    assert.ok(await client.ready())
    api.normal()
    api.edit()
    // The first one may join the load that is under way.
    await until(async () => {
      await client.load()
      return (await client.evaluate()) === 'v2'
    })
    assert.equal(held(client), null)
    await until(() => stateIn(localCopy).snapshot.etag === api.etag)
  })

  test('not if it is older than maxAgeMs', async (t) => {
    const { api, options, localCopy } = await hostWithCopy(t)
    await losePostHog(api)
    const state = stateIn(localCopy)
    writeFileSync(join(placeIn(localCopy), 'state.json'), JSON.stringify({ ...state, confirmed_at: state.confirmed_at - 60_000 }))
    const client = startSharing(t, { ...options, ...elsewhere(), maxAgeMs: 60_000 })
    await client.load()
    assert.deepEqual([await client.evaluate(), held(client)], [undefined, null])
  })

  test('and, during a pause, without a request', async (t) => {
    const { api, options, port } = await hostWithCopy(t)
    await redisFor(t, { port })
    api.always(503)
    const { url, localCopy } = options
    const cache = openCache(t, { projectKey: api.projectKey, url, localCopy, ...elsewhere(), coldStartWaitMs: 0 })
    const headers = { authorization: `Bearer ${api.secretKey}` }
    const ask = () => cache.fetch(`${api.url}/flags/definitions?token=${api.projectKey}&send_cohorts`, { headers })
    assert.equal(await cache.shouldFetchFlagDefinitions(), true)
    // The delay before the next attempt doubles: half a minute.
    for (let n = 0; n < 8; n += 1) assert.equal((await ask()).status, 200)
    const { length } = api.calls
    assert.equal(await cache.shouldFetchFlagDefinitions(), false)
    assert.equal(await cache.getFlagDefinitions(), undefined, 'Redis has none')
    const answer = await ask()
    assert.deepEqual([answer.status, (await answer.json()).flags.length], [200, JSON.parse(api.text).flags.length])
    assert.equal(api.calls.length, length)
  })

  test('and the copy never reaches Redis', async (t) => {
    const { api, options, port } = await hostWithCopy(t)
    api.always(503)
    const client = startSharing(t, { ...options, ...elsewhere(), coldStartWaitMs: 0 })
    assert.ok(await client.ready())
    const empty = await redisFor(t, { port })
    await until(() => client.cache.status().backend.server !== null || void client.load())
    await client.load()
    assert.equal(await client.evaluate(), 'v1')
    assert.equal(await empty.client().exists(`posthog:flags:{${api.projectKey}}`), 0)
    await client.client.shutdown()
    assert.equal(await empty.client().exists(`posthog:flags:{${api.projectKey}}`), 0)
  })
})

describe('on a host with the copy', () => {
  test('processes that start at once over a slow link fetch nothing', async (t) => {
    const [redis, api] = [await redisFor(t), await standIn(t, { flags: 2_000 })]
    const localCopy = temporaryDirectory(t)
    const options = { api, localCopy, compression: 'none', refreshIntervalMs: 60_000 }
    const proxy = await startFaultProxy(redis.port)
    t.after(() => proxy.close())
    const before = startSharing(t, { ...options, ...elsewhere(), url: proxy.url })
    assert.ok(await before.ready())
    await until(() => stateIn(localCopy).snapshot.etag === api.etag)
    const { length } = api.calls
    // Half a minute for the text of one process.
    await proxy.break(NETWORK.narrow(api.text.length / 30))
    const fleet = Array.from({ length: 8 }, () => startSharing(t, { ...options, ...elsewhere(), url: proxy.url }))
    for (const client of fleet) {
      assert.ok(await client.ready())
      assert.deepEqual([await client.evaluate(), held(client).isLocalCopy, client.errors], ['v1', false, []])
    }
    assert.equal(api.calls.length, length)
  })

  test("a process gets Redis's definitions as a patch to the copy", async (t) => {
    const [redis, api] = [await redisFor(t), await standIn(t, { flags: 2_000 })]
    const localCopy = temporaryDirectory(t)
    const proxy = await startFaultProxy(redis.port)
    t.after(() => proxy.close())
    const options = { api, url: proxy.url, refreshIntervalMs: 100 }
    const here = startSharing(t, { ...options, ...elsewhere(), localCopy })
    assert.ok(await here.ready())
    await until(() => stateIn(localCopy).snapshot.etag === api.etag)
    await here.client.shutdown()
    const there = startSharing(t, { ...options, ...elsewhere(), url: redis.url })
    assert.ok(await there.ready())
    api.edit()
    await there.fetch()
    let received = 0
    await proxy.break({
      async *shape(piece, _link, direction) {
        if (direction === 'down') received += piece.length
        yield piece
      },
    })
    const client = startSharing(t, { ...options, ...elsewhere(), localCopy, refreshIntervalMs: 60_000 })
    assert.ok(await client.ready())
    assert.equal(await client.evaluate(), 'v2')
    const length = await redis.client().strlen(`posthog:flags:{${api.projectKey}}`)
    assert.ok(received < length / 2, `${received} of ${length} bytes`)
    await until(() => stateIn(localCopy).snapshot.etag === api.etag)
  })

  test('of several processes that get a new version at the same time one writes it, only for this user', unix, async (t) => {
    const [redis, api] = [await redisFor(t), await standIn(t)]
    const localCopy = temporaryDirectory(t)
    const OPTIONS = JSON.stringify({ projectKey: api.projectKey, host: api.url, url: redis.url, localCopy })
    const processes = Array.from({ length: 6 }, () => startNode(START, { env: { OPTIONS }, stdin: 'pipe', timeoutMs: 60_000 }))
    for (const { line } of processes) {
      const { ready, definitions } = JSON.parse(await line())
      assert.deepEqual([ready, definitions.isLocalCopy], [true, false])
    }
    await until(() => stateIn(localCopy).snapshot.etag === api.etag)
    for (const { child } of processes) child.stdin.end()
    for (const { ended } of processes) assert.equal((await ended).code, 0)
    const { revision, snapshot } = stateIn(localCopy)
    assert.equal(revision, 1)
    const place = placeIn(localCopy)
    assert.deepEqual(readdirSync(place).sort(), [`${snapshot.version}.json`, 'lock', 'state.json'].sort())
    assert.equal(statSync(place).mode & 0o777, 0o700)
    for (const name of ['state.json', `${snapshot.version}.json`]) assert.equal(statSync(join(place, name)).mode & 0o777, 0o600)
    assert.equal(api.count(200), 1)
  })

  test('a process ends even if it has just started to write', async (t) => {
    const [redis, api] = [await redisFor(t), await standIn(t, { flags: 2_000 })]
    const OPTIONS = JSON.stringify({
      projectKey: api.projectKey,
      host: api.url,
      url: redis.url,
      localCopy: temporaryDirectory(t),
    })
    const { line, child, ended } = startNode(START, { env: { OPTIONS }, stdin: 'pipe' })
    await line()
    child.stdin.end()
    assert.equal((await ended).code, 0)
  })

  for (const url of ['memory:', 'file:']) {
    test(`the option has no effect on ${url}`, async (t) => {
      const [localCopy, directory] = [temporaryDirectory(t), temporaryDirectory(t)]
      const api = await standIn(t)
      const client = startSharing(t, { api, localCopy, url: url === 'file:' ? `file://${directory}` : url })
      assert.ok(await client.ready())
      await client.client.shutdown()
      assert.deepEqual(readdirSync(localCopy), [])
    })
  }
})

describe('on the command line', () => {
  test('doctor checks the copy', async (t) => {
    const { api, localCopy, port } = await hostWithCopy(t)
    const redis = await redisFor(t, { port })
    const env = environment({ url: redis.url, api })
    const doctor = async () => {
      const { code, stdout } = await cli(['doctor', '--json', '--local-copy', localCopy], { env })
      return { code, ...JSON.parse(stdout).findings.find(({ check }) => check === 'local copy') }
    }
    const sound = await doctor()
    assert.deepEqual([sound.code, sound.verdict], [0, 'ok'])
    assert.match(sound.message, /^flags: \d+, confirmed \d+ s ago, in \//)
    const { snapshot } = stateIn(localCopy)
    const file = join(placeIn(localCopy), `${snapshot.version}.json`)
    writeFileSync(file, readFileSync(file, 'utf8').replace('"v1"', '"v9"'))
    const damaged = await doctor()
    assert.deepEqual([damaged.code, damaged.verdict], [0, 'warning'])
    assert.match(damaged.message, /^not usable: .*their hash is not their version/)
    writeFileSync(file, readFileSync(file, 'utf8').replace('"v9"', '"v1"'))
    const filled = startSharing(t, { api, url: redis.url, ...elsewhere() })
    assert.ok(await filled.ready())
    const key = `posthog:flags:{${api.projectKey}}`
    await redis.client().set(key, 'x'.repeat(await redis.client().strlen(key)))
    const { stdout: hidden } = await cli(['doctor', '--local-copy', localCopy], { env })
    assert.match(hidden, /^error +definitions /m, 'a sound copy hides no damage in Redis')
    assert.match(hidden, /^ok +local copy /m)
    writeFileSync(join(localCopy, 'file'), '')
    const { code, stdout } = await cli(['doctor', '--local-copy', join(localCopy, 'file/below')], { env })
    assert.equal(code, 1)
    assert.match(stdout, /^error +local copy +.*Not a directory.*\n +→ Replace it with a directory/m)
  })

  test('purge removes it, with the definitions in Redis or without any', async (t) => {
    const { api, options, localCopy, port } = await hostWithCopy(t)
    const redis = await redisFor(t, { port })
    const purge = () => cli(['purge', '--yes', '--local-copy', localCopy], { env: environment({ url: redis.url, api }) })
    assert.equal((await purge()).stdout, 'deleted the definitions and the state\n')
    assert.deepEqual(readdirSync(placeIn(localCopy)), ['lock'])
    assert.equal((await purge()).stdout, 'nothing was stored\n')
    await cli(['refresh', '--local-copy', localCopy], { env: environment({ url: redis.url, api }) })
    await redis.stop()
    assert.match((await purge()).stderr, /ERR_FLAG_CACHE_UNAVAILABLE/)
    assert.deepEqual(readdirSync(placeIn(localCopy)), ['lock'], 'whatever becomes of Redis')
    const cache = openCache(t, { projectKey: api.projectKey, ...options, api: undefined, ...elsewhere(), role: 'reader' })
    await assert.rejects(cache.getFlagDefinitions(), { code: 'ERR_FLAG_CACHE_UNAVAILABLE' })
  })

  test('true stands for the default directory, and nothing else does', async (t) => {
    const { api } = await hostWithCopy(t)
    const TMPDIR = temporaryDirectory(t)
    const env = { ...environment({ url: `redis://127.0.0.1:${await closedPort()}`, api }), TMPDIR }
    const { stdout } = await cli(['doctor', '--local-copy', 'true'], { env })
    assert.match(stdout, /^ok +local copy +none in .*\/posthog-flag-cache-/m)
    const { code, stderr } = await cli(['doctor', '--local-copy', 'yes'], { env })
    assert.equal(code, 2)
    assert.match(stderr, /--local-copy is not an absolute path; allowed: /)
  })
})
