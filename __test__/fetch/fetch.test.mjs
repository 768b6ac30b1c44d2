// `flagCache.fetch`: one ETag for the fleet, and everything else as it was.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { sleep } from '../../dev/harness/clock.mjs'
import { elsewhere, FlagCacheError, openCache, standIn } from '../support/client.mjs'
import { completed, startSharing } from '../support/shared.mjs'
import { newProjectKey, STORES } from '../support/stores.mjs'

/** Two invalidations no further apart count as one. */
const INVALIDATIONS_APART_MS = 1_000

let store
before(async () => (store = await STORES.redis()))
after(() => store.close())

describe('what is not a request for the definitions of this project', () => {
  const projectKey = newProjectKey()
  const host = 'http://127.0.0.1:9'
  const definitions = `${host}/flags/definitions?token=${projectKey}&send_cohorts`

  test('passes through untouched: the same arguments go in, the same promise, response or error comes out', async (t) => {
    const cache = openCache(t, { projectKey, url: 'memory:' })
    const sent = []
    let outcome
    const fetch = cache.withFetch((...request) => {
      sent.push(request)
      return outcome()
    })
    // Fixes whose definitions these are.
    outcome = async () => new Response('{"flags":[]}')
    await fetch(definitions, {})

    const { signal } = new AbortController()
    const body = new ReadableStream()
    const others = {
      'flags evaluated by PostHog': [`${host}/flags?v=2`, { method: 'POST', headers: { a: 'b' }, body: '{}', signal }],
      'events, as a stream': [`${host}/batch/`, { method: 'POST', body, duplex: 'half', signal }],
      'remote config': [new URL(`${host}/api/projects/@current/feature_flags/x/remote_config?token=${projectKey}`), { method: 'GET' }],
      'another method': [definitions, { method: 'POST', body: '{}' }],
      'another project': [`${host}/flags/definitions?token=phc_other&send_cohorts`, { method: 'GET', signal }],
      'no project': [`${host}/flags/definitions`, { method: 'GET' }],
      'another host': [definitions.replace(':9/', ':19/'), { method: 'GET', headers: { 'If-None-Match': '"x"' } }],
      'a Request': [new Request(definitions), { signal }],
      'no URL at all': ['flags/definitions', undefined],
    }
    for (const [what, request] of Object.entries(others)) {
      const response = new Response(new ReadableStream(), { status: 429 })
      const promise = Promise.resolve(response)
      outcome = () => promise
      assert.equal(fetch(...request), promise, what)
      assert.equal(sent.at(-1)[0], request[0], what)
      assert.equal(sent.at(-1)[1], request[1], what)
      assert.equal(response.bodyUsed, false)

      const error = new TypeError('fetch failed')
      outcome = () => Promise.reject(error)
      await assert.rejects(fetch(...request), (thrown) => thrown === error)
      outcome = () => {
        throw error
      }
      assert.throws(
        () => fetch(...request),
        (thrown) => thrown === error,
      )
    }
    assert.equal(cache.status().retryInMs, null)
  })

  test('is not mistaken for one because of the path before it, or a slash behind it', async (t) => {
    const cache = openCache(t, { projectKey, url: 'memory:' })
    const fetch = cache.withFetch(async () => new Response('{"flags":[]}', { headers: { 'x-inner': 'yes' } }))
    // One of ours is parsed by us: every time with the same outcome.
    const isOurs = async (path) => {
      const response = await fetch(`${host}${path}?token=${projectKey}`)
      const first = await response.json()
      return response.json().then(
        (second) => second === first,
        () => false,
      )
    }
    assert.equal(await isOurs('/flags/definitions/'), true)
    assert.equal(await isOurs('/proxy/flags/definitions'), true)
    assert.equal(await isOurs('/flags/definitions/history'), false)
    assert.equal(await isOurs('/flags'), false)
  })
})

test('fetch is bound, and withFetch() takes nothing but a function', async (t) => {
  const cache = openCache(t, { projectKey: newProjectKey(), url: 'memory:' })
  const original = globalThis.fetch
  t.after(() => (globalThis.fetch = original))
  const { fetch } = cache
  // The global one of the moment of the call: tracing replaces it after this package is loaded.
  globalThis.fetch = async (url) => new Response(`from ${url}`)
  assert.equal(await (await fetch('https://posthog.example/flags')).text(), 'from https://posthog.example/flags')
  for (const wrong of [undefined, null, {}, 'fetch']) {
    assert.throws(
      () => cache.withFetch(wrong),
      (error) => error instanceof FlagCacheError && error.code === 'ERR_FLAG_CACHE_OPTIONS',
    )
  }
})

test('an answer with definitions can be read in every way, and as JSON again', async (t) => {
  const projectKey = newProjectKey()
  const text = '{"flags":[{"key":"ä"},{"key":""}],"cohorts":{},"groupTypeMapping":{}}'
  const fetch = openCache(t, { projectKey, url: 'memory:' }).withFetch(async () => new Response(text, { headers: { etag: '"e"' } }))
  const response = await fetch(`https://posthog.example/flags/definitions?token=${projectKey}`)
  const [first, second] = [await response.json(), await response.json()]
  assert.deepEqual(first, JSON.parse(text))
  assert.equal(second, first)
  assert.equal(await response.clone().text(), text)
  assert.deepEqual([response.status, response.headers.get('etag'), await response.text()], [200, '"e"', text])
})

test('an answer above the size limit is passed on as it arrives, and not kept', async (t) => {
  const projectKey = newProjectKey()
  const cache = openCache(t, { projectKey, url: 'memory:' })
  const troubles = []
  cache.onError((error) => troubles.push(error))
  const chunk = Buffer.alloc(2 ** 20, ' ')
  let sent = 0
  const pull = (controller) => {
    if (sent === 100) return controller.close()
    sent += 1
    controller.enqueue(chunk)
  }
  const fetch = cache.withFetch(async () => new Response(new ReadableStream({ pull }, { highWaterMark: 0 })))
  const response = await fetch(`https://posthog.example/flags/definitions?token=${projectKey}`)
  assert.equal(sent, 65, 'the rest is left where it is')
  assert.equal((await response.arrayBuffer()).byteLength, 100 * 2 ** 20)
  assert.deepEqual(
    troubles.map(({ code }) => code),
    ['ERR_FLAG_CACHE_TOO_LARGE'],
  )
  assert.match(troubles[0].message, /more than 67108864 bytes/)
})

test('definitions that are too large to share cost each process the same as without the cache', async (t) => {
  const api = await standIn(t)
  const options = { api, url: store.url, refreshIntervalMs: 100 }
  const fleet = [startSharing(t, options), startSharing(t, options)]
  for (const { load } of fleet) await load()
  // A flag with more values than one may have.
  api.edit(({ flags }) => (flags[0].filters.payloads = { true: JSON.stringify(0), list: Array.from({ length: 100_001 }, () => 0) }))
  const before = api.calls.length
  await fleet[0].cache.invalidate()
  for (let polls = 0; polls < 4; polls += 1) for (const { load } of fleet) await load()
  assert.deepEqual(await Promise.all(fleet.map(({ evaluate }) => evaluate())), ['v2', 'v2'])
  assert.equal(api.count(200, before), 2, 'each has fetched them once')
  assert.ok(fleet[0].troubles.some(({ code }) => code === 'ERR_FLAG_CACHE_TOO_LARGE'))
  assert.equal(fleet[0].cache.status().failedFetches, 0)

  const small = api.edit()
  while ((await fleet[1].evaluate()) !== small || (await fleet[0].evaluate()) !== small) {
    for (const { load } of fleet) await load()
    await sleep(100)
  }
  assert.equal((await store.stored(api.projectKey)).includes(small), true, 'and shared again when they are small again')
})

test('the message of an error of the inner fetch is cut, and contains no secret of an answer', async (t) => {
  const projectKey = newProjectKey()
  const secret = 'phs_topsecret'
  const answers = [
    () => Promise.reject(new TypeError('x'.repeat(1e7))),
    async () => new Response(JSON.stringify(`Bearer ${secret}`)),
    async () => new Response(JSON.stringify({ flags: [`Bearer ${secret}`] })),
    async () => new Response(JSON.stringify({ flags: [{ key: { a: `Bearer ${secret}` } }] })),
    async () => new Response(JSON.stringify({ flags: `", expected Bearer ${secret}` })),
  ]
  for (const answer of answers) {
    const cache = openCache(t, { projectKey, url: 'memory:', ...elsewhere() })
    const messages = []
    cache.onError((error) => messages.push(error.message))
    const request = cache.withFetch(answer)(`https://posthog.example/flags/definitions?token=${projectKey}`)
    await request.then(
      (response) => response.text(),
      () => {},
    )
    assert.equal(messages.length, 1)
    assert.ok(messages[0].length < 2_000)
    assert.doesNotMatch(messages[0], /topsecret/)
  }
})

test('an answer that takes longer to read than a call may take is passed on unchanged', async (t) => {
  const projectKey = newProjectKey()
  // The limit of a call is 3 ms: to parse these and to hash them takes ten times as long.
  const cache = openCache(t, { projectKey, url: 'memory:', connectTimeoutMs: 1, commandTimeoutMs: 1 })
  const troubles = []
  cache.onError((error) => troubles.push(error.code))
  const flags = Array.from({ length: 50_000 }, (_, n) => ({ key: `flag-${n}`, filler: 'x'.repeat(300) }))
  const text = JSON.stringify({ flags })
  const fetch = cache.withFetch(async () => new Response(text, { headers: { etag: '"e"' } }))
  const response = await fetch(`https://posthog.example/flags/definitions?token=${projectKey}`)
  assert.deepEqual([response.status, response.headers.get('etag'), await response.text()], [200, '"e"', text])
  assert.deepEqual(troubles, ['ERR_FLAG_CACHE_TIMEOUT'])
  assert.equal(cache.status().failedFetches, 0, 'PostHog has not failed')
})

describe('a request for the definitions', () => {
  const shared = () => ({ url: store.url, refreshIntervalMs: 100 })

  test('keeps its URL, its signal and its headers, but for the ETag', async (t) => {
    const api = await standIn(t)
    const { ready, fetch, requests, sent } = startSharing(t, { api, ...shared() })
    await ready()
    await fetch()
    const [request, passedOn] = [requests.at(-1), sent.at(-1)]
    assert.equal(passedOn.url, request.url)
    assert.ok(passedOn.options.signal instanceof AbortSignal)
    assert.equal(passedOn.options.signal, request.options.signal)
    const { headers, ...others } = request.options
    const { headers: sentHeaders, ...sentOthers } = passedOn.options
    assert.deepEqual(sentOthers, others)
    assert.deepEqual([...new Headers(sentHeaders)], [...new Headers(headers)])
  })

  test("carries the ETag of the fleet's snapshot, not that of the client's own last answer", async (t) => {
    const api = await standIn(t)
    const first = startSharing(t, { api, ...shared() })
    await first.ready()
    const second = startSharing(t, { api, ...shared() })
    await second.ready()
    const { etag: v1 } = api
    api.edit()
    await second.fetch()
    assert.equal(await second.evaluate(), 'v2')

    await first.fetch()
    assert.equal(first.requests.at(-1).options.headers['If-None-Match'], v1)
    assert.equal(api.calls.at(-1).sentEtag, api.etag)
    assert.equal(await first.evaluate(), 'v2')
  })

  test("that finds the client's definitions unchanged returns the same objects, and confirms them in the store", async (t) => {
    const api = await standIn(t)
    const { cache, ready, fetch, requests } = startSharing(t, { api, ...shared() })
    await ready()
    const [{ response: received }] = requests
    const other = openCache(t, { projectKey: api.projectKey, url: store.url })
    await other.getFlagDefinitions()
    await fetch()
    assert.equal(api.calls.at(-1).status, 304)
    const { response } = requests.at(-1)
    assert.equal(response.status, 200)
    assert.equal(await response.json(), await received.json())
    assert.deepEqual(JSON.parse(await response.text()), completed(api.text))
    assert.equal(response.headers.get('etag'), api.etag)
    const { counters, definitions } = cache.status()
    assert.deepEqual([counters.confirms, counters.publishes], [1, 1])
    const before = other.status().definitions.ageMs
    await other.getFlagDefinitions()
    assert.ok(other.status().definitions.ageMs < before, 'the others know that it is current')
    assert.equal(definitions.etag, api.etag)
  })

  test('is answered with the URL and the headers of the API', async (t) => {
    const api = await standIn(t)
    const inner = async (...request) => {
      const response = await globalThis.fetch(...request)
      const { status, body, headers } = response
      const more = new Headers({ ...Object.fromEntries(headers), 'x-ratelimit-remaining': '7', 'content-encoding': 'br' })
      return Object.defineProperty(new Response(status === 304 ? null : body, { status, headers: more }), 'url', { value: response.url })
    }
    const { ready, fetch, requests } = startSharing(t, { api, inner, ...shared() })
    await ready()
    await fetch()
    for (const { url, response } of requests) {
      assert.equal(response.url, url)
      assert.equal(response.headers.get('x-ratelimit-remaining'), '7')
      assert.ok(response.headers.get('date'))
      assert.equal(response.headers.get('content-encoding'), null, 'the body is not what was encoded')
    }
    assert.equal(requests.length, 2)
  })

  for (const holds of ['nothing', 'another version']) {
    test(`that finds the shared definitions unchanged becomes a 200 from the snapshot for a client that holds ${holds}`, async (t) => {
      const api = await standIn(t)
      const options = { api, url: store.url, refreshIntervalMs: 60_000 }
      const leader = startSharing(t, options)
      await leader.ready()
      let late
      if (holds === 'nothing') {
        // A turn that nobody has taken is the next one's.
        await leader.cache.invalidate()
        await leader.client.shutdown()
        late = startSharing(t, options)
        await late.ready()
      } else {
        late = startSharing(t, options)
        await late.ready()
        api.edit()
        await leader.cache.invalidate()
        await leader.load()
        await sleep(INVALIDATIONS_APART_MS)
        await late.cache.invalidate()
        await late.load()
      }
      assert.deepEqual(
        late.requests.map(({ status }) => status),
        [200],
      )
      assert.deepEqual(
        api.calls.map(({ status }) => status),
        holds === 'nothing' ? [200, 304] : [200, 200, 304],
      )
      assert.equal(await late.evaluate(), api.version)
      const [{ response }] = late.requests
      assert.equal(response.ok, true)
      assert.equal(response.headers.get('etag'), api.etag)
      assert.match(response.headers.get('content-type'), /^application\/json/)
      assert.deepEqual(JSON.parse(await response.text()), completed(api.text))
      assert.equal(late.cache.status().counters.publishes, 0)
      assert.equal(late.cache.status().counters.confirms, 1)
      // It knows that it has them now.
      late.cache.onUpdate(() => assert.fail('told of the version that it holds'))
      await late.load()
      assert.deepEqual(late.errors, [])
    })
  }
})
