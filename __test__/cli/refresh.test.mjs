// refresh: one request to PostHog, and what the fleet has of it.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { cli, environment, startCli } from '../support/cli.mjs'
import { openCache, publish, standIn } from '../support/client.mjs'
import { startSharing } from '../support/shared.mjs'
import { closedPort, STORES } from '../support/stores.mjs'

for (const kind of ['redis', 'directory']) {
  describe(`refresh over ${kind}`, { concurrency: 2 }, () => {
    async function open(t, { options } = {}) {
      const store = await STORES[kind]()
      t.after(() => store.close())
      const api = await standIn(t)
      const env = environment({ url: store.url, api })
      const refresh = async (args = [], more) => {
        const ended = await cli(['refresh', '--json', ...args], { env: { ...env, ...more } })
        return { ...ended, outcome: ended.stdout && JSON.parse(ended.stdout) }
      }
      const worker = (more) => startSharing(t, { api, url: store.url, refreshIntervalMs: 60_000, ...options, ...more })
      const statuses = () => api.calls.map(({ status }) => status)
      /** What another worker published before. */
      const fill = () => publish(openCache(t, { url: store.url, projectKey: api.projectKey }), JSON.parse(api.text))
      return { store, api, env, refresh, worker, statuses, fill }
    }

    test("publishes PostHog's answer to a request like posthog-node's", async (t) => {
      const { store, api, refresh, statuses } = await open(t)
      const seen = []
      api.on('request', (call) => seen.push(call.sentEtag))
      const { code, outcome, stderr } = await refresh()
      assert.equal(code, 0, stderr)
      const { outcome: what, previousVersion, etag, flags } = outcome
      assert.deepEqual([what, previousVersion, etag, flags, stderr], ['published', null, api.etag, 24, ''])
      assert.deepEqual([statuses(), seen], [[200], [null]])
      assert.equal(JSON.parse(await store.stored(api.projectKey)).flags.length, 24)
    })

    test('fetches again with the shared ETag, which costs 1 request, and finds an edit', async (t) => {
      const { api, env, refresh, statuses } = await open(t)
      const { outcome: first } = await refresh()
      const { outcome: second } = await refresh()
      assert.deepEqual([second.outcome, second.version], ['unchanged', first.version])
      assert.deepEqual([statuses(), api.bill], [[200, 304], 11])
      api.edit()
      const { code, stdout } = await cli(['refresh'], { env })
      assert.equal(code, 0)
      assert.match(stdout, /^published version [0-9a-f]{64}: 24 flags, 11\.\d KiB\n$/)
      assert.ok(!stdout.includes(first.version))
    })

    test('reaches running processes and releases the lease, and the interval continues', async (t) => {
      const { api, refresh, worker, statuses } = await open(t)
      const fleet = worker({ push: true })
      await fleet.ready()
      const version = api.edit()
      const { outcome } = await refresh()
      assert.equal(outcome.outcome, 'published')
      await fleet.until(version)
      await fleet.load()
      assert.deepEqual(statuses(), [200, 200])
      assert.equal(fleet.cache.status().leader, null)
    })

    test('--if-due fetches only when the interval is over', async (t) => {
      const { refresh, statuses } = await open(t)
      const first = await refresh(['--if-due'])
      assert.equal(first.outcome.outcome, 'published')
      const second = await refresh(['--if-due'])
      assert.deepEqual([second.code, second.outcome.outcome, second.outcome.version], [0, 'not-due', first.outcome.version])
      const third = await refresh(['--if-due', '--refresh-interval-ms', '100'])
      assert.deepEqual([third.code, third.outcome.outcome], [0, 'unchanged'])
      assert.deepEqual(statuses(), [200, 304])
    })

    test('of several at once, each uses the answer to a request that began after it started', async (t) => {
      const { api, refresh, statuses } = await open(t)
      const release = api.hold()
      const asked = api.nextRequest()
      const all = [1, 2, 3].map(() => refresh())
      await asked
      release()
      const outcomes = await Promise.all(all)
      assert.deepEqual(
        outcomes.map(({ code }) => code),
        [0, 0, 0],
        JSON.stringify(outcomes),
      )
      const versions = new Set(outcomes.map(({ outcome }) => outcome.version))
      assert.equal(versions.size, 1)
      assert.equal(statuses().filter((status) => status === 200).length, 1)
    })

    test('it does not use the answer to a request that began before it started, which may have missed the edit', async (t) => {
      const { api, env, refresh, statuses } = await open(t)
      await refresh()
      api.edit()
      const release = api.hold()
      const asked = api.nextRequest()
      const first = refresh()
      await asked
      const second = refresh()
      // It takes as long as the second one takes to start.
      await cli(['status'], { env })
      release()
      const outcomes = await Promise.all([first, second])
      assert.deepEqual(
        outcomes.map(({ code }) => code),
        [0, 0],
        JSON.stringify(outcomes),
      )
      assert.equal(statuses().length, 3)
    })

    test('corrupt definitions that it replaces are no failure', async (t) => {
      const { store, api, env, refresh, fill } = await open(t)
      await fill()
      await store.damage(api.projectKey, Buffer.from('{"flags":[]}'))
      const release = api.hold()
      const asked = api.nextRequest()
      const refreshed = refresh()
      await asked
      // Meanwhile it hears of the damage, which another thread reports.
      await cli(['status'], { env })
      release()
      const { code, outcome, stderr } = await refreshed
      assert.deepEqual([code, outcome?.outcome, stderr], [0, 'published', ''])
    })

    const refusals = { 401: /rejected the secret key/, 402: /quota/, 403: /lacks the permission/, 404: /no API/, 418: /unexpected/ }
    for (const [status, meaning] of Object.entries(refusals)) {
      test(`after a ${status} it says what that means, and the definitions stay`, async (t) => {
        const { api, store, refresh, fill } = await open(t)
        await fill()
        api.next(Number(status))
        const { code, stdout, stderr } = await refresh()
        assert.deepEqual([code, stdout], [1, ''])
        assert.match(stderr, new RegExp(`^error \\[ERR_FLAG_CACHE_API\\]: PostHog answered ${status}: `))
        assert.match(stderr, meaning)
        assert.ok(await store.stored(api.projectKey))
      })
    }

    test('a 429 pauses the whole fleet for as long as PostHog asks, refresh too', async (t) => {
      const { api, env, refresh, statuses, fill } = await open(t)
      await fill()
      api.next(429, { retryAfter: 600 })
      const limited = await refresh()
      assert.equal(limited.code, 1)
      assert.match(limited.stderr, /\[ERR_FLAG_CACHE_API\]: PostHog answered 429: it received too many requests/)
      const { retryInMs } = JSON.parse((await cli(['status', '--json'], { env })).stdout)
      assert.ok(retryInMs > 500_000 && retryInMs <= 600_000, String(retryInMs))
      const paused = await refresh()
      assert.equal(paused.code, 1)
      assert.match(paused.stderr, /\[ERR_FLAG_CACHE_API\]: .*no process calls it for another (9 min|10 min)/)
      assert.deepEqual(statuses(), [429])
    })

    const failures = {
      'a 500': [(api) => api.next(500), /PostHog answered 500: a server error\. Try again later\./],
      'no answer in time': [(api) => api.next('silence'), /PostHog did not answer within 500 ms/, ['--request-timeout-ms', '500']],
      'a broken connection': [(api) => api.next('cut'), /PostHog cannot be reached at http:/],
      HTML: [(api) => api.next('html'), /is not valid JSON/],
      'half an answer': [(api) => api.next('truncated'), /is not valid JSON/],
    }
    for (const [failure, [strike, message, args]] of Object.entries(failures)) {
      test(`after ${failure} it fails, and the definitions stay`, async (t) => {
        const { api, store, refresh, fill } = await open(t)
        await fill()
        strike(api)
        const { code, stdout, stderr } = await refresh(args)
        assert.deepEqual([code, stdout], [1, ''])
        assert.match(stderr, /^error \[ERR_FLAG_CACHE_API\]/)
        assert.match(stderr, message)
        assert.ok(await store.stored(api.projectKey))
      })
    }

    test('JSON that is not definitions is rejected with that reason', async (t) => {
      const { api, refresh } = await open(t)
      api.next('not-flags')
      const { code, stderr } = await refresh()
      assert.equal(code, 1)
      assert.match(stderr, /^error \[ERR_FLAG_CACHE_DATA\]/)
    })
  })
}

test('if PostHog is not there, it says where it looked', async (t) => {
  const api = await standIn(t)
  const host = `http://127.0.0.1:${await closedPort()}`
  const { code, stderr } = await cli(['refresh', '--host', `${host}/`], { env: environment({ url: 'memory:', api }) })
  assert.equal(code, 1)
  assert.ok(stderr.startsWith(`error [ERR_FLAG_CACHE_API]: PostHog cannot be reached at ${host}: `), stderr)
  assert.match(stderr, /ECONNREFUSED/)
})

test('without the store it makes no request to PostHog', async (t) => {
  const api = await standIn(t)
  const url = `redis://127.0.0.1:${await closedPort()}`
  const { code, stderr } = await cli(['refresh'], { env: environment({ url, api }) })
  assert.equal(code, 1)
  assert.match(stderr, /^error \[ERR_FLAG_CACHE_UNAVAILABLE\]/)
  assert.deepEqual(api.calls, [])
})

/** What another command stored before; PostHog's answer by that. */
const ANSWERS = {
  200: async () => {},
  304: async (env) => assert.equal((await cli(['refresh'], { env })).code, 0),
}

for (const [answer, fill] of Object.entries(ANSWERS)) {
  test(`a store that is lost while PostHog answers ${answer} is a failure`, async (t) => {
    const store = await STORES.redis()
    t.after(() => store.close())
    const api = await standIn(t)
    const env = environment({ url: store.url, api })
    await fill(env)
    const answered = api.calls.length
    const release = api.hold()
    const { ended } = startCli(['refresh'], { env })
    await api.nextRequest()
    await store.close()
    release()
    const { code, stdout, stderr } = await ended
    assert.deepEqual([code, stdout, api.calls.slice(answered).map(({ status }) => status)], [1, '', [Number(answer)]])
    assert.match(stderr, /^error \[ERR_FLAG_CACHE_UNAVAILABLE\]/)
  })
}

test('a parameter in the URL without effect is no failure', async (t) => {
  const store = await STORES.redis()
  t.after(() => store.close())
  const api = await standIn(t)
  const { code, stdout, stderr } = await cli(['refresh'], { env: environment({ url: `${store.url}?family=4`, api }) })
  assert.deepEqual([code, stderr], [0, ''])
  assert.match(stdout, /^published/)
})

test('a reader cannot refresh', async (t) => {
  const api = await standIn(t)
  const { code, stderr } = await cli(['refresh', '--role', 'reader'], { env: environment({ url: 'memory:', api }) })
  assert.equal(code, 1)
  assert.match(stderr, /^error \[ERR_FLAG_CACHE_READONLY\]/)
  assert.deepEqual(api.calls, [])
})

test('it exits as soon as it is done, even if PostHog would keep a connection open', async (t) => {
  const api = await standIn(t)
  const { ended } = startCli(['refresh'], { env: environment({ url: 'memory:', api }), timeoutMs: 4_000 })
  assert.equal((await ended).code, 0)
})
