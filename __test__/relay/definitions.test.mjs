// The definitions that a relay serves: the same answers as PostHog's, from the cache of the fleet.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import zlib from 'node:zlib'

import { openCache, publish, standIn } from '../support/client.mjs'
import { ask, createRelay, exchange, optionsFor, startRelay, startUpstream, until } from '../support/relay.mjs'
import { closedPort, STORES } from '../support/stores.mjs'

const DECODERS = { gzip: zlib.gunzipSync, br: zlib.brotliDecompressSync, zstd: zlib.zstdDecompressSync }

/** Both ways to run a relay, each with a `get(url, options)` that decodes nothing. */
const WAYS = {
  'behind the server': async (t, options) => {
    const { url, relay } = await startRelay(t, options)
    return { url, get: exchange, relay }
  },
  'as a handler': async (t, { api, ...options }) => {
    const relay = createRelay({ ...optionsFor(api, options), compress: true })
    t.after(() => relay.close())
    const get = async (url, { method = 'GET', headers } = {}) => {
      const response = await relay.fetch(new Request(url, { method, headers }))
      const body = Buffer.from(await response.arrayBuffer())
      return { status: response.status, headers: Object.fromEntries(response.headers), body }
    }
    return { url: 'http://relay.example', get, relay }
  },
}

for (const [way, start] of Object.entries(WAYS)) {
  describe(way, () => {
    async function open(t, options) {
      const api = await standIn(t)
      const running = await start(t, { api, ...options })
      const definitions = (headers, method) => {
        const { url, headers: sent } = ask(running.url, api, headers)
        return running.get(url, { method, headers: sent })
      }
      return { api, ...running, definitions }
    }

    for (const path of ['/flags/definitions', '/flags/definitions/', '/api/feature_flag/local_evaluation', '//flags//%64efinitions']) {
      test(`${path} returns PostHog's answer, byte for byte, with one request to PostHog`, async (t) => {
        const { api, definitions } = await open(t)
        const first = await definitions({ path })
        assert.deepEqual([first.status, first.body.toString()], [200, api.text])
        const { etag, vary, 'content-type': type, 'cache-control': control } = first.headers
        assert.match(etag, /^W\/"[\w-]+"$/)
        assert.deepEqual([vary, type, control], ['Accept-Encoding', 'application/json', 'private, must-revalidate'])
        assert.deepEqual((await definitions({ path })).body, first.body)
        assert.equal(api.calls.length, 1)
      })
    }

    test('its ETag gets a 304, alone or among others, weak or strong; a different ETag does not', async (t) => {
      const { definitions } = await open(t)
      const { etag } = (await definitions()).headers
      for (const known of [etag, etag.slice(2), `"other", ${etag}`, '*']) {
        const { status, headers, body } = await definitions({ 'if-none-match': known })
        assert.deepEqual([status, headers.etag, body.length], [304, etag, 0], known)
      }
      assert.equal((await definitions({ 'if-none-match': 'W/"other"' })).status, 200)
    })

    const encodings = { gzip: 'gzip, deflate', br: 'gzip;q=0.5, br', zstd: 'zstd, br, gzip', identity: 'gzip;q=0, *;q=0' }
    for (const [encoding, accepted] of Object.entries(encodings)) {
      test(`${accepted} is answered with ${encoding}`, async (t) => {
        if (encoding === 'zstd' && !zlib.zstdCompress) return t.skip('this Node.js has no zstd')
        const { api, definitions } = await open(t)
        const { headers, body } = await definitions({ 'accept-encoding': accepted })
        assert.equal(headers['content-encoding'], encoding === 'identity' ? undefined : encoding)
        assert.equal(Number(headers['content-length']), body.length)
        assert.equal((DECODERS[encoding]?.(body) ?? body).toString(), api.text)
        const again = await definitions({ 'accept-encoding': accepted })
        assert.deepEqual(again.body, body)
      })
    }

    const wrong = {
      'a wrong key': ({ headers }) => headers.set('authorization', 'Bearer phs_wrong'),
      'a longer key': ({ headers }) => headers.set('authorization', `${headers.get('authorization')}x`),
      'no key': ({ headers }) => headers.delete('authorization'),
      'another scheme': ({ headers }) => headers.set('authorization', headers.get('authorization').replace('Bearer', 'Basic')),
      "another project's token": ({ url }) => url.searchParams.set('token', 'phc_other'),
      'no token': ({ url }) => url.searchParams.delete('token'),
    }
    for (const [what, change] of Object.entries(wrong)) {
      test(`${what} gets a 401, and nothing is passed on`, async (t) => {
        const { api, url, get } = await open(t)
        const good = ask(url, api)
        assert.equal((await get(good.url, good)).status, 200)
        const asked = { url: new URL(good.url), headers: new Headers(good.headers) }
        change(asked)
        const { status, body } = await get(asked.url.href, { headers: Object.fromEntries(asked.headers) })
        assert.equal(status, 401)
        assert.equal(JSON.parse(body).type, 'authentication_error')
        assert.ok(!body.includes(api.secretKey) && !body.includes('phs_wrong'))
        assert.equal(api.calls.length, 1)
      })
    }

    test("other methods get PostHog's answer", async (t) => {
      const { api, definitions } = await open(t)
      const [head, options, post] = [await definitions({}, 'HEAD'), await definitions({}, 'OPTIONS'), await definitions({}, 'POST')]
      assert.deepEqual([head.status, Number(head.headers['content-length']), head.body.length], [200, Buffer.byteLength(api.text), 0])
      assert.deepEqual([options.status, options.headers.allow], [204, 'GET, OPTIONS, HEAD'])
      assert.deepEqual([post.status, post.headers.allow], [405, 'GET, OPTIONS, HEAD'])
    })

    test('while there are none it answers 503 with Retry-After, and is alive but not ready', async (t) => {
      const api = await standIn(t)
      api.always(500)
      const { url, get } = await start(t, { api, refreshIntervalMs: 60_000 })
      const asked = ask(url, api)
      const { status, headers } = await get(asked.url, asked)
      assert.deepEqual([status, headers['retry-after']], [503, '1'])
      assert.equal((await get(`${url}/healthz`)).status, 200)
      assert.equal((await get(`${url}/readyz`)).status, 503)
    })

    test("a request before PostHog's first answer waits for that answer", async (t) => {
      const api = await standIn(t)
      const release = api.hold()
      const asked = api.nextRequest()
      const { url, get } = await start(t, { api })
      const { url: place, headers } = ask(url, api)
      const answer = get(place, { headers })
      await asked
      release()
      assert.equal((await answer).status, 200)
    })

    test('a request waits while the poll is under way, and for no longer', async (t) => {
      const api = await standIn(t)
      const release = api.hold()
      const { url, get } = await start(t, { api, refreshIntervalMs: 60_000 })
      const { url: place, headers } = ask(url, api)
      const answers = [get(place, { headers }), get(place, { headers })]
      await api.nextRequest()
      // Longer than the 2 s after which posthog-node alone would still be waiting.
      await sleep(2_500)
      release()
      assert.deepEqual(
        (await Promise.all(answers)).map(({ status }) => status),
        [200, 200],
      )
      assert.equal(api.calls.length, 1)
    })

    test('without definitions it polls again soon', async (t) => {
      const api = await standIn(t)
      api.next(500)
      const { url, get } = await start(t, { api, refreshIntervalMs: 60_000 })
      const asked = ask(url, api)
      assert.equal((await get(asked.url, asked)).status, 503)
      await until(async () => (await get(asked.url, asked)).status === 200)
      assert.deepEqual(
        api.calls.map(({ status }) => status),
        [500, 200],
      )
    })

    test('a 304 to a request for all definitions is reported', async (t) => {
      const api = await standIn(t)
      api.always(304)
      const { url, get, relay } = await start(t, { api })
      const messages = []
      const { cache = relay } = relay
      cache.onError(({ message }) => messages.push(message))
      const asked = ask(url, api)
      assert.equal((await get(asked.url, asked)).status, 503)
      assert.match(messages.join('\n'), /^PostHog answered 304 \(not modified\) to a request for all definitions/)
    })

    for (const answer of ['not-flags', 'html']) {
      test(`a 200 without definitions (${answer}) is reported once, and not served`, async (t) => {
        const api = await standIn(t)
        const { url, get, relay } = await start(t, { api, refreshIntervalMs: 100 })
        const codes = []
        const { cache = relay } = relay
        cache.onError(({ code }) => codes.push(code))
        const { text } = api
        const definitions = async () => (await get(ask(url, api).url, ask(url, api))).body.toString()
        assert.equal(await definitions(), text)
        api.always(answer)
        for (let n = 0; n < 2; n += 1) await api.nextCall()
        await until(() => relay.status().failedFetches > 0)
        assert.equal(await definitions(), text)
        assert.deepEqual(codes, ['ERR_FLAG_CACHE_API'])
      })

      test(`without others, a 200 without definitions (${answer}) is answered with 503`, async (t) => {
        const api = await standIn(t)
        api.always(answer)
        const { url, get } = await start(t, { api })
        assert.equal((await get(ask(url, api).url, ask(url, api))).status, 503)
      })
    }

    test('definitions that the store does not take are served all the same, and what follows them', async (t) => {
      const { api, url, get, definitions, relay } = await open(t, { refreshIntervalMs: 300 })
      assert.equal((await definitions()).status, 200)
      const served = (text) => until(async () => (await definitions()).body.toString() === text)
      const value = Array.from({ length: 120_000 }, (_, n) => `user-${n}@example.com`)
      api.edit((data) => {
        const [flag] = data.flags
        data.flags.push({
          ...flag,
          key: 'large',
          filters: { groups: [{ properties: [{ key: 'email', type: 'person', operator: 'exact', value }] }] },
        })
      })
      await served(api.text)
      assert.ok(relay.status().counters.errors.ERR_FLAG_CACHE_TOO_LARGE >= 1)
      const { status, body } = await get(`${url}/readyz`)
      assert.equal(status, 200)
      assert.ok(JSON.parse(body).ageMs < 2_000)
      // Fetched, or found in the store: it stays until there is something newer.
      for (let n = 0; n < 5; n += 1) {
        await api.nextCall()
        assert.equal((await definitions()).body.toString(), api.text)
      }
      api.rollback(1)
      await served(api.text)
    })

    test('it is ready with definitions, unless they are older than maxAgeMs', async (t) => {
      const { api, url, get, definitions } = await open(t, { refreshIntervalMs: 100, maxAgeMs: 400 })
      await definitions()
      assert.equal((await get(`${url}/readyz`)).status, 200)
      api.always(500)
      const { ageMs } = await until(async () => {
        const { status, body } = await get(`${url}/readyz`)
        return status === 503 && JSON.parse(body)
      })
      assert.ok(ageMs > 400, String(ageMs))
      assert.equal((await definitions()).status, 200)
      api.normal()
      await until(async () => (await get(`${url}/readyz`)).status === 200)
    })

    test('refused by PostHog (402), it keeps the definitions, or answers as PostHog with whenRefused: clear', async (t) => {
      const api = await standIn(t)
      const { url, get } = await start(t, { api, refreshIntervalMs: 100 })
      const { url: other, get: getOther } = await start(t, { api, refreshIntervalMs: 100, whenRefused: 'clear', keyPrefix: 'other' })
      const definitions = (place, get) => get(ask(place, api).url, ask(place, api))
      assert.deepEqual([(await definitions(url, get)).status, (await definitions(other, getOther)).status], [200, 200])
      api.always(402)
      await until(async () => (await definitions(other, getOther)).status === 402)
      assert.equal((await definitions(url, get)).status, 200)
      assert.equal((await get(`${url}/readyz`)).status, 200)
    })
  })
}

describe('what PostHog would have answered', () => {
  const served = async (t, cache, api) => {
    const relay = createRelay(optionsFor(api, { ...cache, role: 'reader' }))
    t.after(() => relay.close())
    const { url, headers } = ask('http://relay.example', api)
    const response = await relay.fetch(new Request(url, { headers }))
    assert.equal(response.status, 200)
    return response.text()
  }

  async function place(t) {
    const store = await STORES.directory()
    t.after(() => store.close())
    const api = await standIn(t)
    return { api, store: { url: store.url }, cache: openCache(t, { url: store.url, projectKey: api.projectKey }) }
  }

  const odd = {
    'fields that nobody knows': { new_field: { deep: [1, null, '"groupTypeMapping":{}}'] } },
    'no cohorts': { cohorts: undefined },
    'a name of posthog-node deep inside': { flags: [{ key: 'a', groupTypeMapping: {}, minimalFlagCalledEvents: true }] },
    'a name of posthog-node that PostHog itself sends, before another field': { groupTypeMapping: { 0: 'team' }, last: 1 },
    'a text with our names in it': { flags: [{ key: 'a', name: ',"groupTypeMapping":{}' }] },
  }
  const forms = Object.entries(odd).flatMap(([what, change]) => [
    [what, change, undefined],
    [`${what}, indented`, change, 1],
  ])
  for (const [what, change, indent] of forms) {
    test(`comes byte for byte through the store: ${what}`, async (t) => {
      const { api, store, cache } = await place(t)
      const text = ` ${JSON.stringify({ ...JSON.parse(api.text), ...change }, null, indent)}\n`
      assert.ok(await cache.shouldFetchFlagDefinitions())
      const fetch = cache.withFetch(async () => new Response(text, { headers: { etag: '"1"' } }))
      const response = await fetch(`${api.url}/flags/definitions?token=${api.projectKey}`)
      await cache.onFlagDefinitionsReceived(await response.json())
      const found = await served(t, store, api)
      // Every SDK reads them.
      if (what.startsWith('no cohorts')) assert.deepEqual(JSON.parse(found), { ...JSON.parse(text), cohorts: {} })
      else assert.equal(found, text.trimEnd())
    })
  }

  test('is correct for definitions from a posthog-node without flagCache.fetch', async (t) => {
    const { api, store, cache } = await place(t)
    const { flags, cohorts, group_type_mapping } = JSON.parse(api.text)
    const minimal = { minimal_flag_called_events: true, minimalFlagCalledEvents: true }
    await publish(cache, { flags, group_type_mapping, cohorts, ...minimal, groupTypeMapping: group_type_mapping })
    const expected = { flags, group_type_mapping, cohorts, minimal_flag_called_events: true }
    assert.equal(await served(t, store, api), JSON.stringify(expected))
  })

  test('is correct for definitions from an older posthog-node, which knows only its own names', async (t) => {
    const { api, store, cache } = await place(t)
    const { flags, cohorts, group_type_mapping } = JSON.parse(api.text)
    await publish(cache, { flags, groupTypeMapping: group_type_mapping, cohorts })
    const { groupTypeMapping, ...found } = JSON.parse(await served(t, store, api))
    assert.deepEqual(found, { flags, cohorts, group_type_mapping })
  })

  test('has the same ETag in every relay, before and after an edit', async (t) => {
    const store = await STORES.redis()
    t.after(() => store.close())
    const api = await standIn(t)
    const [one, other] = await Promise.all([1, 2].map(() => startRelay(t, { api, url: store.url })))
    const etags = () => Promise.all([one, other].map(async ({ url }) => (await exchange(ask(url, api).url, ask(url, api))).headers.etag))
    const [first, same] = await etags()
    assert.equal(first, same)
    api.edit()
    await one.relay.cache.invalidate()
    await one.relay.source.poll()
    const edited = await until(async () => {
      const [etag, othersEtag] = await etags()
      return etag === othersEtag && etag
    })
    assert.notEqual(edited, first)
  })
})

describe('createRelay', () => {
  const options = { projectKey: 'phc_1', secretKey: 'phs_1', url: 'memory:' }
  const bad = {
    secretKey: [undefined, '', 'phs_\n', '"phs_1"', 'phc_other', 7],
    upstream: ['us.i.posthog.com', 'ftp://host', 'https://user:secret@host', 'https://host?a', 7],
    proxy: ['no', 0],
    compress: ['gzip', 1],
    basePath: ['relay', '/relay/', '/a?b', '/../a', '/ä', 7],
    requestTimeoutMs: [0, 1.5, '10', 2 ** 31],
    refreshIntervalMs: [1],
    unknown: [1],
  }
  for (const [option, values] of Object.entries(bad)) {
    test(`rejects a bad ${option}, and repeats nothing of it`, () => {
      for (const value of values) {
        assert.throws(
          () => createRelay({ ...options, [option]: value }),
          ({ code, message }) => code === 'ERR_FLAG_CACHE_OPTIONS' && message.includes(option) && !/secret@|ph(s_1|c_other)/.test(message),
        )
      }
    })
  }

  test('rejects its project key as secretKey, whatever its form, and does not repeat it', () => {
    for (const projectKey of ['own-key', ' own-key\n']) {
      assert.throws(
        () => createRelay({ ...options, projectKey, secretKey: 'own-key' }),
        ({ code, message }) =>
          code === 'ERR_FLAG_CACHE_OPTIONS' && /'secretKey'.*not the project key/.test(message) && !message.includes('own-key'),
      )
    }
  })

  test('without compress no body has an encoding, because a framework might hide the header', async (t) => {
    const api = await standIn(t)
    const upstream = await startUpstream(t, ({ headers }, response) => response.end(headers['accept-encoding']))
    const relay = createRelay(optionsFor(api))
    const proxy = createRelay(optionsFor(api, { upstream: upstream.url }))
    t.after(() => Promise.all([relay.close(), proxy.close()]))
    const headers = { ...ask('', api).headers, 'accept-encoding': 'gzip' }
    const response = await relay.fetch(new Request(ask('http://relay.example', api).url, { headers }))
    assert.deepEqual([response.headers.get('content-encoding'), await response.text()], [null, api.text])
    assert.equal(await (await proxy.fetch(new Request('http://relay.example/flags', { headers }))).text(), 'identity')
  })

  test('opens no connection before its first request, and keeps no process alive', async (t) => {
    const api = await standIn(t)
    const relay = createRelay(optionsFor(api, { url: `redis://127.0.0.1:${await closedPort()}` }))
    await relay.close()
    assert.deepEqual([api.calls, relay.status().counters.errors], [[], {}])
  })

  test('calls nobody after close()', async (t) => {
    const api = await standIn(t)
    const relay = createRelay(optionsFor(api))
    await relay.close()
    const asked = ask('http://relay.example', api)
    assert.equal((await relay.fetch(new Request(asked.url, asked))).status, 503)
    assert.equal(api.calls.length, 0)
  })
})
