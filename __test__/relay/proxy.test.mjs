// What a relay does not answer by itself: it passes requests and answers on, byte for byte, as they come.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'

import { standIn } from '../support/client.mjs'
import { createRelay, exchange, optionsFor, startRelay, startUpstream, until } from '../support/relay.mjs'
import { closedPort } from '../support/stores.mjs'

const EVENTS = gzipSync(JSON.stringify({ batch: [{ event: 'größe', $ip: '1.2.3.4' }] }))

const WAYS = {
  'behind the server': async (t, options) => {
    const { url, troubles } = await startRelay(t, options)
    return { url, send: exchange, troubles, ownAddress: '127.0.0.1' }
  },
  'as a handler': async (t, { api, basePath, ...options }) => {
    const relay = createRelay({ ...optionsFor(api, options), basePath, compress: true })
    t.after(() => relay.close())
    const troubles = []
    relay.onError((error) => troubles.push(error))
    const send = async (url, { method, headers, body } = {}) => {
      const response = await relay.fetch(new Request(url, { method, headers, body, duplex: 'half' }), { clientAddress: '127.0.0.1' })
      const { status, statusText: reason } = response
      return { status, reason, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) }
    }
    return { url: 'http://relay.example', send, troubles, ownAddress: '127.0.0.1' }
  },
}

for (const [way, start] of Object.entries(WAYS)) {
  describe(way, () => {
    /** A relay that passes on to a server of the test; what it fetches comes from another. */
    async function open(t, answer, options) {
      const api = await standIn(t)
      const upstream = await startUpstream(t, answer)
      return { api, upstream, ...(await start(t, { api, upstream: upstream.url, ...options })) }
    }

    test('an upload arrives as it was sent, with its path, its headers and the client’s address', async (t) => {
      const { upstream, url, send, ownAddress } = await open(t)
      const target = '/batch/?compression=gzip-js&_=%C3%B6%20a+b&x=/../&ver=1'
      const headers = {
        'Content-Type': 'application/json',
        'Content-Encoding': 'gzip',
        'X-Own': 'a, b',
        'X-Forwarded-For': '203.0.113.7',
        Via: '1.0 proxy.example (a, b)',
      }
      await send(`${url}${target}`, { method: 'POST', headers: { ...headers, Authorization: 'Bearer phx_own' }, body: EVENTS })
      const [seen] = upstream.requests
      assert.deepEqual([seen.method, seen.url], ['POST', target])
      assert.ok(EVENTS.equals(seen.body))
      for (const [name, value] of Object.entries(headers).slice(0, 3)) assert.equal(seen.headers[name.toLowerCase()], value)
      assert.equal(seen.headers.authorization, 'Bearer phx_own')
      assert.equal(seen.headers['x-forwarded-for'], `203.0.113.7, ${ownAddress}`)
      assert.match(seen.headers.via, /^1\.0 proxy\.example \(a, b\), 1\.1 posthog-flag-cache-[0-9a-f]{8}$/)
      assert.equal(seen.headers.host, new URL(upstream.url).host)
    })

    test('an answer arrives as PostHog sent it: not decoded, and redirects not followed', async (t) => {
      const cookies = ['a=1; Path=/', 'b=2']
      const { url, send } = await open(t, (_, response) => {
        response.writeHead(302, 'Over There', {
          Location: 'https://elsewhere.example/',
          'Content-Encoding': 'gzip',
          'Set-Cookie': cookies,
          'X-Odd': 'ä',
        })
        response.end(EVENTS)
      })
      const { status, reason, headers, body } = await send(`${url}/decide?v=3`)
      assert.deepEqual([status, reason], [302, 'Over There'])
      assert.ok(EVENTS.equals(body))
      const get = (name) => headers.get?.(name) ?? headers[name]
      assert.deepEqual([get('location'), get('content-encoding'), get('x-odd')], ['https://elsewhere.example/', 'gzip', 'ä'])
      assert.deepEqual(headers.getSetCookie?.() ?? headers['set-cookie'], cookies)
    })

    for (const [status, method] of [
      [304, 'GET'],
      [204, 'GET'],
      [200, 'HEAD'],
      [200, 'OPTIONS'],
    ]) {
      test(`a ${status} to ${method} has no body`, async (t) => {
        const { upstream, url, send } = await open(t, (_, response) => response.writeHead(status, { 'X-Seen': '1' }).end())
        const answer = await send(`${url}/flags?v=2`, { method })
        assert.deepEqual([answer.status, answer.body.length, upstream.requests[0].method], [status, 0, method])
      })
    }

    test('headers of the connection stay on it', async (t) => {
      const { upstream, url, send } = await open(t, (_, response) =>
        response.writeHead(200, { Connection: 'x-hop', 'X-Hop': '1', 'Proxy-Authenticate': 'Basic', 'X-Kept': '1' }).end(),
      )
      const { headers } = await send(`${url}/flags`, {
        method: 'POST',
        headers: { 'Proxy-Authorization': 'Basic secret', 'X-Kept': '1' },
        body: 'x',
      })
      const get = (name) => (headers.get ? (headers.get(name) ?? undefined) : headers[name])
      assert.deepEqual([get('x-hop'), get('proxy-authenticate'), get('x-kept')], [undefined, undefined, '1'])
      const seen = upstream.requests[0].headers
      assert.deepEqual([seen['proxy-authorization'], seen['x-kept']], [undefined, '1'])
    })

    test('if PostHog is not there, the answer is 502, and the error is reported', async (t) => {
      const api = await standIn(t)
      const { url, send, troubles } = await start(t, { api, upstream: `http://127.0.0.1:${await closedPort()}` })
      const { status, body } = await send(`${url}/flags?token=phc_hidden`, { method: 'POST', body: 'x' })
      assert.deepEqual([status, JSON.parse(body).code], [502, 'upstream_unreachable'])
      const told = troubles.find(({ message }) => message.includes('pass a request on'))
      assert.match(told.message, /ECONNREFUSED/)
      assert.doesNotMatch(told.message, /phc_hidden/)
    })

    test('without a proxy all other requests get a 404, and nothing is passed on', async (t) => {
      const { upstream, url, send } = await open(t, undefined, { proxy: false })
      const { status, body } = await send(`${url}/batch/`, { method: 'POST', body: EVENTS })
      assert.deepEqual([status, JSON.parse(body).code], [404, 'not_found'])
      assert.deepEqual(upstream.requests, [])
    })
  })
}

describe('streams', () => {
  test('an answer is passed on as it comes', async (t) => {
    const api = await standIn(t)
    let finish
    const upstream = await startUpstream(t, (_, response) => {
      response.write('first')
      finish = () => response.end('last')
    })
    const { url } = await startRelay(t, { api, upstream: upstream.url })
    const [response] = await once(request(`${url}/stream`).end(), 'response')
    response.setEncoding('utf8')
    const [first] = await once(response, 'data')
    assert.equal(first, 'first')
    finish()
    assert.deepEqual(await response.toArray(), ['last'])
  })

  test('an upload is passed on as it comes', async (t) => {
    const api = await standIn(t)
    let arrive
    const arrived = new Promise((resolve) => (arrive = resolve))
    const upstream = await startUpstream(t, (...exchange) => arrive(exchange))
    const { url } = await startRelay(t, { api, upstream: upstream.url })
    const sending = request(`${url}/s/`, { method: 'POST' })
    sending.write('first')
    const [incoming, outgoing] = await arrived
    incoming.setEncoding('utf8')
    assert.equal((await once(incoming, 'data'))[0], 'first')
    sending.end('last')
    assert.equal((await once(incoming, 'data'))[0], 'last')
    outgoing.end('done')
    const [response] = await once(sending, 'response')
    assert.deepEqual((await response.toArray()).join(''), 'done')
  })

  for (const way of ['a client that leaves', 'half an answer']) {
    test(`${way} ends the exchange on the other side`, async (t) => {
      const api = await standIn(t)
      let answering
      const upstream = await startUpstream(t, (_, response) => {
        response.writeHead(200, { 'content-length': 100 }).write('half')
        answering = response
      })
      const { url, relay } = await startRelay(t, { api, upstream: upstream.url })
      const sending = request(`${url}/stream`).end()
      sending.on('error', () => {})
      const [response] = await once(sending, 'response')
      await once(response, 'data')
      if (way === 'half an answer') {
        answering.destroy()
        await assert.rejects(response.toArray(), { code: 'ECONNRESET' })
      } else {
        sending.destroy()
        await once(answering, 'close')
      }
      await until(() => relay.upstream.requests === 0)
    })
  }

  test('a client that disconnects before the answer ends the request to PostHog', { timeout: 15_000 }, async (t) => {
    const api = await standIn(t)
    let left
    const gone = new Promise((resolve) => (left = resolve))
    const upstream = await startUpstream(t, (_, response) => response.once('close', left))
    const { url, relay } = await startRelay(t, { api, upstream: upstream.url, proxyLimits: { silenceMs: 600_000 } })
    const sending = request(`${url}/flags`).end()
    sending.on('error', () => {})
    await until(() => upstream.requests.length === 1)
    sending.destroy()
    await gone
    await until(() => relay.upstream.requests === 0)
  })

  for (const [what, answer] of Object.entries({
    'no HTTP': 'SSH-2.0\r\n',
    'a status that is none': 'HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n',
  })) {
    test(`${what} from PostHog is answered with 502`, async (t) => {
      const api = await standIn(t)
      const odd = createServer((socket) => socket.on('error', () => {}).once('data', () => socket.end(answer))).listen(0, '127.0.0.1')
      await once(odd, 'listening')
      t.after(() => odd.close())
      const { url } = await startRelay(t, { api, upstream: `http://127.0.0.1:${odd.address().port}` })
      assert.equal((await exchange(`${url}/flags`)).status, 502)
    })
  }

  test('a request on an idle connection that PostHog has just closed is sent again, but not an upload', async (t) => {
    const api = await standIn(t)
    const used = new Set()
    const upstream = await startUpstream(t, (seen, response, body) => {
      if (used.has(seen.socket)) return seen.socket.destroy()
      used.add(seen.socket)
      return body().then(() => response.end())
    })
    const { url } = await startRelay(t, { api, upstream: upstream.url })
    const status = async (options) => (await exchange(`${url}/flags`, options)).status
    assert.deepEqual([await status(), await status(), await status({ method: 'POST', body: 'an event' })], [200, 200, 502])
    assert.deepEqual(
      upstream.requests.map(({ method }) => method),
      ['GET', 'GET', 'GET', 'POST'],
    )
  })

  test('an upload that cannot be passed on is answered before it ends', async (t) => {
    const api = await standIn(t)
    const { url } = await startRelay(t, { api, upstream: `http://127.0.0.1:${await closedPort()}` })
    const sending = request(`${url}/s/`, { method: 'POST', headers: { 'content-length': 1_000_000 } })
    sending.write('some')
    const [response] = await once(sending, 'response')
    assert.equal(response.statusCode, 502)
    sending.on('error', () => {})
    sending.destroy()
  })

  test('an answer before the end of an upload reaches the client, and ends the upload', async (t) => {
    const api = await standIn(t)
    const upstream = await startUpstream(t, (_, response) => response.writeHead(413, { connection: 'close' }).end('too much'))
    const { url } = await startRelay(t, { api, upstream: upstream.url })
    const sending = request(`${url}/s/`, { method: 'POST' })
    sending.on('error', () => {})
    sending.write(randomBytes(1024))
    const [response] = await once(sending, 'response')
    assert.equal(response.statusCode, 413)
    assert.equal((await response.toArray()).join(''), 'too much')
    await once(sending, 'close')
  })
})

describe('below a path', () => {
  test('a handler knows where it is mounted', async (t) => {
    const api = await standIn(t)
    const upstream = await startUpstream(t, (_, response) => response.end('passed on'))
    const { send } = await WAYS['as a handler'](t, { api, upstream: upstream.url, basePath: '/relay' })
    assert.equal((await send('http://app.example/relay/healthz')).status, 200)
    assert.equal((await send('http://app.example/relay/flags?v=2')).body.toString(), 'passed on')
    assert.equal(upstream.requests[0].url, '/flags?v=2')
    for (const path of ['/', '/relayed/flags', '/other']) assert.equal((await send(`http://app.example${path}`)).status, 404, path)
  })

  test('PostHog may be below a path, too', async (t) => {
    const api = await standIn(t)
    const upstream = await startUpstream(t)
    const { url } = await startRelay(t, { api, upstream: `${upstream.url}/ingest/` })
    await exchange(`${url}/flags?v=2`)
    assert.equal(upstream.requests[0].url, '/ingest/flags?v=2')
  })
})
