// What a relay counts, and how it is read: status(), /metrics, and the functions of posthog-flag-cache/metrics.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { standIn } from '../support/client.mjs'
import { ask, createRelay, exchange, optionsFor, startRelay, startUpstream, until } from '../support/relay.mjs'
import { closedPort } from '../support/stores.mjs'
import { contentType, prometheus, samplesIn } from '../metrics/support/fleet.mjs'

const NO_REQUESTS = { answered: 0, busy: 0, canceled: 0, timeout: 0, unreachable: 0 }

/** The samples of one metric, by their label. */
const values = (text, name, label) =>
  Object.fromEntries(
    samplesIn(text)
      .filter(([sample]) => sample === `posthog_flag_cache_${name}`)
      .map(([, value, labels]) => [labels[label], value]),
  )

test('/metrics shows what was answered, what was passed on, and what that saved', async (t) => {
  const api = await standIn(t)
  const { url, relay } = await startRelay(t, { api })
  const definitions = (headers, token) => {
    const asked = ask(url, { ...api, secretKey: token ?? api.secretKey }, headers)
    return exchange(asked.url, asked)
  }
  const { headers } = await definitions()
  for (let n = 0; n < 3; n += 1) assert.equal((await definitions({ 'if-none-match': headers.etag })).status, 304)
  assert.equal((await definitions()).status, 200)
  assert.equal((await definitions({}, 'phs_another')).status, 401)
  assert.equal((await exchange(`${url}/batch/`, { method: 'POST', body: '{}' })).status, 200)

  const { status, headers: given, body } = await exchange(`${url}/metrics`)
  assert.deepEqual([status, given['content-type'], given['content-length']], [200, contentType, String(body.length)])
  const text = body.toString()
  const [responses, proxied] = [
    { 200: 2, 204: 0, 304: 3, 401: 1, 402: 0, 405: 0, 503: 0 },
    { ...NO_REQUESTS, answered: 1 },
  ]
  assert.deepEqual(values(text, 'relay_responses_total', 'http_response_status_code'), responses)
  assert.deepEqual(values(text, 'relay_proxied_requests_total', 'outcome'), proxied)
  assert.deepEqual(relay.status().relay, { responses, proxied })
  // Two 200s and three 304s from PostHog, instead of the one 200 of the relay.
  assert.equal(api.bill, 10)
  assert.deepEqual(values(text, 'requests_saved_total', 'cache'), { 0: 2 * 10 + 3 - 10 })
  assert.ok(!text.includes(api.secretKey))
})

test('answers count as saved only while PostHog would have billed them', async (t) => {
  const api = await standIn(t)
  const { url, relay } = await startRelay(t, { api, refreshIntervalMs: 200 })
  const asked = ask(url, api)
  const saved = () => relay.status().counters.requestsSaved
  for (let n = 0; n < 20; n += 1) await exchange(asked.url, asked)
  assert.ok(saved() >= 180)
  api.always(503)
  await until(() => relay.source.isFailing)
  const before = saved()
  for (let n = 0; n < 5; n += 1) assert.equal((await exchange(asked.url, asked)).status, 200)
  assert.equal(saved(), before)
  api.normal()
  await until(() => !relay.source.isFailing)
  for (let n = 0; n < 5; n += 1) await exchange(asked.url, asked)
  assert.ok(saved() > before)
})

describe('requests that could not be passed on are counted by what prevented it', () => {
  /** A relay to which a request is sent, and resolves with what it counted. */
  async function counted(t, { upstream, proxyLimits, outcome, end }) {
    const api = await standIn(t)
    const { url, relay } = await startRelay(t, { api, upstream, proxyLimits })
    const gone = new AbortController()
    const request = fetch(`${url}/batch/`, { method: 'POST', body: '{}', signal: gone.signal }).catch(() => undefined)
    await end?.(gone)
    await request
    await until(() => relay.status().relay.proxied[outcome] > 0)
    assert.deepEqual(relay.status().relay.proxied, { ...NO_REQUESTS, [outcome]: 1 })
  }
  /** A server that never answers, and a promise of its first request. */
  async function silence(t) {
    let arrived
    const arrival = new Promise((resolve) => (arrived = resolve))
    const { url } = await startUpstream(t, () => arrived())
    return { upstream: url, arrival }
  }

  test('there is no connection', async (t) => {
    await counted(t, { upstream: `http://127.0.0.1:${await closedPort()}`, outcome: 'unreachable' })
  })

  test('PostHog is silent', async (t) => {
    const { upstream } = await silence(t)
    await counted(t, { upstream, proxyLimits: { silenceMs: 200 }, outcome: 'timeout' })
  })

  test('the client is gone', async (t) => {
    const { upstream, arrival } = await silence(t)
    await counted(t, { upstream, outcome: 'canceled', end: (gone) => arrival.then(() => gone.abort()) })
  })

  test('too many are under way', async (t) => {
    const { upstream } = await silence(t)
    await counted(t, { upstream, proxyLimits: { maxRequests: 0 }, outcome: 'busy' })
  })
})

test('a handler leaves /metrics to PostHog; prometheus() reads it', async (t) => {
  const api = await standIn(t)
  const upstream = await startUpstream(t)
  const relay = createRelay(optionsFor(api, { upstream: upstream.url }))
  t.after(() => relay.close())
  await relay.fetch(new Request('http://relay.example/metrics'))
  assert.deepEqual(
    upstream.requests.map(({ url }) => url),
    ['/metrics'],
  )
  assert.deepEqual(values(prometheus(relay), 'relay_proxied_requests_total', 'outcome'), { ...NO_REQUESTS, answered: 1 })
})
