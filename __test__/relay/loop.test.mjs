// A relay whose PostHog URL leads back to it, as when an application and its relay share an environment file.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { describe, test } from 'node:test'

import { freePort } from '../../dev/harness/redis.mjs'
import { standIn } from '../support/client.mjs'
import { ask, createRelay, exchange, optionsFor, startRelay, startUpstream, until } from '../support/relay.mjs'

const LIMIT = { timeout: 30_000 }

const urlOf = (port) => `http://127.0.0.1:${port}`
const codeOf = ({ body }) => JSON.parse(body).code
const loops = ({ troubles }) => troubles.filter(({ code }) => code === 'ERR_FLAG_CACHE_OPTIONS')
const passedOn = ({ relay }) => Object.values(relay.status().relay.proxied).reduce((sum, n) => sum + n)

/** Two relays, each of which takes the other for PostHog. */
async function startPair(t, options) {
  const api = await standIn(t)
  const ports = [await freePort(), await freePort()]
  const start = (n) => startRelay(t, { api, port: ports[n], upstream: urlOf(ports[1 - n]), requestTimeoutMs: 1_000, ...options(n) })
  return { api, relays: [await start(0), await start(1)] }
}

describe('a relay that takes itself for PostHog', LIMIT, () => {
  test('answers 508 to the first request that comes back, and reports the loop once', async (t) => {
    const api = await standIn(t)
    const port = await freePort()
    const running = await startRelay(t, { api, port, upstream: urlOf(port) })
    for (const path of ['/flags', '/batch/']) {
      const answer = await exchange(`${running.url}${path}`, { method: 'POST', body: 'x' })
      assert.deepEqual([answer.status, codeOf(answer)], [508, 'loop_detected'])
    }
    assert.equal(passedOn(running), 2)
    const [{ message }, ...others] = loops(running)
    assert.match(message, /come back to this relay.*PostHog URL.*--upstream or POSTHOG_HOST/)
    assert.deepEqual(others, [])
  })

  test('notices it at its own request for the definitions, before a timeout', async (t) => {
    const api = await standIn(t)
    const port = await freePort()
    const running = await startRelay(t, { api, port, upstream: urlOf(port), proxy: false, requestTimeoutMs: 60_000 })
    const { url, headers } = ask(running.url, api)
    assert.equal((await exchange(url, { headers })).status, 503)
    assert.equal(loops(running).length, 1)
    assert.ok(running.troubles.some(({ code, message }) => code === 'ERR_FLAG_CACHE_API' && /508.*come back to a relay/.test(message)))
    assert.equal(running.relay.status().relay.responses[503], 1)
  })

  test('as a handler, too', async (t) => {
    const api = await standIn(t)
    const upstream = await startUpstream(t, async ({ url, headers }, response) => {
      const answer = await relay.fetch(new Request(`http://relay.example${url}`, { headers }))
      response.writeHead(answer.status).end(await answer.text())
    })
    const relay = createRelay(optionsFor(api, { upstream: upstream.url }))
    t.after(() => relay.close())
    const codes = []
    relay.onError(({ code }) => codes.push(code))
    const answer = await relay.fetch(new Request('http://relay.example/flags'))
    assert.deepEqual([answer.status, (await answer.json()).code], [508, 'loop_detected'])
    assert.equal(upstream.requests.length, 1)
    assert.ok(codes.includes('ERR_FLAG_CACHE_OPTIONS'))
  })
})

describe('two relays that take each other for PostHog', LIMIT, () => {
  test('pass a request on once each', async (t) => {
    const { relays } = await startPair(t, (n) => ({ keyPrefix: `relay-${n}` }))
    const answer = await exchange(`${relays[0].url}/flags`, { method: 'POST', body: 'x' })
    assert.deepEqual([answer.status, codeOf(answer)], [508, 'loop_detected'])
    assert.deepEqual(relays.map(passedOn), [1, 1])
    assert.equal(loops(relays[0]).length, 1)
  })

  for (const [what, options] of Object.entries({ 'one store': () => ({}), 'a store each': (n) => ({ keyPrefix: `relay-${n}` }) })) {
    test(`with ${what}, they notice it at their requests for the definitions`, async (t) => {
      const { relays } = await startPair(t, (n) => ({ ...options(n), refreshIntervalMs: 500, proxy: false }))
      await until(() => relays.some((running) => loops(running).length > 0))
    })
  }
})

describe('a chain of relays', LIMIT, () => {
  test('is no loop: the first gets the definitions through the second', async (t) => {
    const api = await standIn(t)
    const second = await startRelay(t, { api, keyPrefix: 'second' })
    const first = await startRelay(t, { api, keyPrefix: 'first', upstream: second.url })
    const { url, headers } = ask(first.url, api)
    const { status, body } = await exchange(url, { headers })
    assert.deepEqual([status, body.toString()], [200, api.text])
    assert.deepEqual([...loops(first), ...loops(second)], [])
  })

  test('names in Via the relays that requested definitions with the key, the last 10 at most', async (t) => {
    const seen = []
    const server = createServer(({ headers }, response) => {
      seen.push(headers.via.split(', '))
      response.writeHead(500).end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const api = await standIn(t)
    const { url } = await startRelay(t, { api, upstream: urlOf(server.address().port), refreshIntervalMs: 100 })
    await until(() => seen.length > 0)
    const name = (n) => `1.1 posthog-flag-cache-0000000${n.toString(16)}`
    for (let n = 0; n < 12; n += 1) {
      const asked = ask(url, api, { via: `1.1 elsewhere.example, ${name(n)}` })
      await exchange(asked.url, asked)
    }
    const { url: target } = ask(url, api)
    await exchange(target, { headers: { via: name(15) } })
    const later = await until(() => seen.find((names) => names.includes(name(11))))
    assert.match(seen[0].join(), /^1\.1 posthog-flag-cache-[0-9a-f]{8}$/)
    const last = Array.from({ length: 10 }, (_, n) => name(n + 2))
    assert.deepEqual(later, [...last, ...seen[0]])
  })
})
