// PostHog's webhook for an edited flag: every process has the edit at once, for one request.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { openCache, standIn, startClient } from '../support/client.mjs'
import { until } from '../support/relay.mjs'
import { closedPort, newProjectKey, STORES } from '../support/stores.mjs'

const SECRET = 'a secret of the webhook'

/** PostHog calls. */
const call = (handle, { secret = SECRET, method = 'POST', body = '{"event":{}}' } = {}) =>
  handle(
    new Request('https://app.example/flags-changed', {
      method,
      headers: { authorization: `Bearer ${secret}` },
      ...(method === 'POST' && { body, duplex: 'half' }),
    }),
  )

/** A process that is called, with the client that fetches. */
async function called(t, { isKeyless = false, ...options } = {}) {
  const api = await standIn(t)
  const started = startClient(t, { api, url: 'memory:', ...options })
  if (!isKeyless) await started.ready()
  return { api, ...started, handle: started.cache.webhookHandler({ secret: SECRET, posthog: started.client }) }
}

describe('webhookHandler()', () => {
  test('gives every process the edit, for one request', async (t) => {
    const store = await STORES.redis()
    t.after(() => store.close())
    const { api, evaluate, handle } = await called(t, { url: store.url })
    const other = startClient(t, { api, url: store.url, commandTimeoutMs: 999 })
    await other.ready()
    const told = new Promise((resolve) => other.cache.onUpdate(() => other.load().then(resolve)))
    const [before, version] = [api.calls.length, api.edit()]
    assert.equal((await call(handle)).status, 204)
    assert.equal(await evaluate(), version)
    await told
    assert.equal(await other.evaluate(), version)
    assert.equal(api.calls.length - before, 1)
  })

  test('sees an edit that comes while the client is loading', async (t) => {
    const { api, client, evaluate, handle } = await called(t)
    for (let n = 0; n < 4; n += 1) {
      const loading = client.reloadFeatureFlags()
      const version = api.edit()
      const [{ status }] = await Promise.all([call(handle), loading])
      assert.equal(status, 204)
      assert.equal(await evaluate(), version, `after ${n} edits`)
    }
  })

  test('takes a thousand calls in a second for one or two', async (t) => {
    const { api, handle } = await called(t)
    const before = api.calls.length
    api.edit()
    const answers = await Promise.all(Array.from({ length: 1_000 }, () => call(handle)))
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [204])
    assert.ok(api.calls.length - before <= 2, `${api.calls.length - before} requests`)
  })

  test('rejects a wrong secret and any method but POST, without a request to PostHog', async (t) => {
    const { api, handle } = await called(t)
    const before = api.calls.length
    for (const secret of ['', 'wrong', SECRET.slice(1), SECRET.toUpperCase(), 'é'.repeat(9)]) {
      const { status, headers } = await call(handle, { secret: encodeURIComponent(secret).replaceAll('%20', ' ') })
      assert.deepEqual([status, headers.get('www-authenticate')], [401, 'Bearer'], secret)
    }
    for (const header of [`Basic ${SECRET}`, `Bearer${SECRET}`, SECRET, undefined]) {
      const headers = header === undefined ? {} : { authorization: header }
      assert.equal((await handle(new Request('https://app.example/', { method: 'POST', headers }))).status, 401, header)
    }
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const { status, headers } = await call(handle, { method })
      assert.deepEqual([status, headers.get('allow')], [405, 'POST'])
    }
    assert.equal(api.calls.length, before)
  })

  test('does not read the body, however long it is', async (t) => {
    const { handle } = await called(t)
    let sent = 0
    const endless = new ReadableStream({
      pull(controller) {
        sent += 1
        controller.enqueue(new Uint8Array(65_536))
      },
    })
    assert.equal((await call(handle, { body: endless })).status, 204)
    assert.ok(sent <= 2, `${sent} pieces were read`)
  })

  test('answers 503 if the edit cannot be recorded, and reports why', async (t) => {
    const api = await standIn(t)
    const url = `redis://127.0.0.1:${await closedPort()}`
    const { cache, client, troubles } = startClient(t, { api, url })
    const { status, headers } = await call(cache.webhookHandler({ secret: SECRET, posthog: client }))
    assert.deepEqual([status, headers.get('retry-after')], [503, '5'])
    assert.ok(troubles.some(({ code }) => code === 'ERR_FLAG_CACHE_UNAVAILABLE'))
  })

  test('answers 503 if PostHog failed, and fetches again with the next call', async (t) => {
    const { api, cache, client, evaluate, handle, troubles } = await called(t, { refreshIntervalMs: 60_000 })
    const version = api.edit()
    api.next(500)
    assert.equal((await call(handle)).status, 503)
    assert.ok(troubles.some(({ message }) => /^a request to PostHog failed, so the edit/.test(message)))
    assert.equal(await evaluate(), 'v1')
    await until(() => call(handle).then(({ status }) => status === 204))
    assert.equal(await evaluate(), version)
    // A pause that PostHog asked for: the edit comes after it.
    api.next(429, { retryAfter: 30 })
    await call(handle)
    const calls = api.calls.length
    assert.equal((await call(cache.webhookHandler({ secret: SECRET, posthog: client }))).status, 204)
    assert.equal(api.calls.length, calls)
  })

  test('answers 503 if its client cannot fetch', async (t) => {
    const { api, cache, handle } = await called(t, { posthogOptions: { secretKey: undefined }, isKeyless: true })
    const { status } = await call(handle)
    assert.deepEqual([status, api.calls.length], [503, 0])
    assert.equal(cache.status().counters.grants, 0)
  })

  test('reads a header of any length in no time', async (t) => {
    const { handle } = await called(t)
    const headers = { authorization: `Bearer a${' '.repeat(1_000_000)}b` }
    // A pattern that tries each space again would take minutes.
    assert.equal((await handle(new Request('https://app.example/', { method: 'POST', headers }))).status, 401)
  })

  test('takes the scheme in any case, as HTTP says', async (t) => {
    const { handle } = await called(t)
    const headers = { authorization: `bearer  ${SECRET} ` }
    assert.equal((await handle(new Request('https://app.example/', { method: 'POST', headers }))).status, 204)
  })

  test('rejects options without its parts', (t) => {
    const cache = openCache(t, { projectKey: newProjectKey(), url: 'memory:' })
    const posthog = { reloadFeatureFlags: async () => {} }
    for (const options of [
      undefined,
      null,
      {},
      { secret: SECRET },
      { posthog },
      { secret: '', posthog },
      { secret: 1, posthog },
      ...['a ', ' ', 'a\n', 'é'].map((secret) => ({ secret, posthog })),
    ]) {
      assert.throws(() => cache.webhookHandler(options), { code: 'ERR_FLAG_CACHE_OPTIONS' })
    }
  })
})
