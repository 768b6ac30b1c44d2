// What nobody should send to a relay: each is answered or cut off within limits, and reaches nobody else.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { describe, test } from 'node:test'

import { startCli } from '../support/cli.mjs'
import { standIn } from '../support/client.mjs'
import { ask, exchange, startRelay, startUpstream, until } from '../support/relay.mjs'
import { SECRET_KEY } from '../support/secrets.mjs'

async function open(t, { answer, ...options } = {}) {
  const api = await standIn(t)
  const upstream = await startUpstream(t, answer)
  const relay = await startRelay(t, { api, upstream: upstream.url, ...options })
  return { api, upstream, ...relay }
}

/** Writes text to a connection, and reads until the other side closes it. */
async function raw(port, ...parts) {
  const socket = connect(port, '127.0.0.1')
  let read = ''
  socket.setEncoding('latin1').on('data', (text) => (read += text))
  socket.on('error', () => {})
  for (const part of parts) socket.write(part)
  await once(socket, 'close')
  return read
}

/** One that hangs fails. */
const LIMIT = { timeout: 30_000 }

const lines = (...given) => `${given.join('\r\n')}\r\n`
const statuses = (text) => [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status))

describe('request smuggling', LIMIT, () => {
  const SMUGGLED = lines('GET /smuggled HTTP/1.1', 'Host: relay', '')
  const chunked = (header) => lines('POST /batch/ HTTP/1.1', 'Host: relay', header, '', '0', '', SMUGGLED)
  const attempts = {
    'both lengths':
      lines('POST /batch/ HTTP/1.1', 'Host: relay', 'Content-Length: 6', 'Transfer-Encoding: chunked', '', '0', '') + SMUGGLED,
    'two lengths': lines('POST /batch/ HTTP/1.1', 'Host: relay', 'Content-Length: 0', 'Content-Length: 40', '') + SMUGGLED,
    'a list of lengths': lines('POST /batch/ HTTP/1.1', 'Host: relay', 'Content-Length: 0, 40', '') + SMUGGLED,
    'a signed length': lines('POST /batch/ HTTP/1.1', 'Host: relay', 'Content-Length: +0', '') + SMUGGLED,
    'a hidden encoding': chunked('Transfer-Encoding : chunked'),
    'an unknown encoding': chunked('Transfer-Encoding: xchunked'),
    'an encoding after chunked': chunked('Transfer-Encoding: chunked, identity'),
    'a folded header': chunked('Transfer-Encoding:\r\n chunked'),
    'a line without a carriage return': `POST /batch/ HTTP/1.1\nHost: relay\nContent-Length: 0\n\n${SMUGGLED}`,
    'a chunk of an odd length': lines('POST /batch/ HTTP/1.1', 'Host: relay', 'Transfer-Encoding: chunked', '', '0x0', '', SMUGGLED),
    'a newline in the path': `GET /batch/\n/smuggled HTTP/1.1\r\nHost: relay\r\n\r\n`,
  }
  for (const [what, text] of Object.entries(attempts)) {
    test(`${what}: the connection ends, and PostHog sees no second request`, async (t) => {
      const { upstream, port } = await open(t)
      assert.deepEqual(
        statuses(await raw(port, text)).filter((status) => status !== 400),
        [],
      )
      // One more, so that an earlier one would have arrived.
      await exchange(`http://127.0.0.1:${port}/after`)
      assert.deepEqual(
        upstream.requests.map(({ url }) => url).filter((url) => url !== '/batch/'),
        ['/after'],
      )
    })
  }

  const rejected = [
    ['gzip, chunked', 501],
    ['gzip', 400],
    ['identity', 400],
    ['xchunked', 400],
    ['"chunked"', 400],
    ['chunked, identity', 400],
    ['chunked', 400, '1.0'],
    ['gzip, chunked', 400, '1.0'],
  ]
  for (const [encoding, status, version = '1.1'] of rejected) {
    test(`the transfer encoding ${encoding} with HTTP/${version} gets a ${status}, and ends the connection`, async (t) => {
      const { upstream, port } = await open(t)
      const text = lines(`POST /batch/ HTTP/${version}`, 'Host: relay', `Transfer-Encoding: ${encoding}`, '', '0', '')
      for (const next of ['', SMUGGLED]) {
        const answer = await raw(port, text + next)
        assert.deepEqual(statuses(answer), [status])
        assert.match(answer, /\r\nconnection: close\r\n/i)
      }
      assert.deepEqual(upstream.requests, [])
    })
  }

  test('an answer that needs no body reaches the client, although the body is not valid', async (t) => {
    const { port } = await open(t)
    const text = lines('POST /flags/definitions HTTP/1.1', 'Host: relay', 'Transfer-Encoding: chunked', '', 'zz')
    assert.deepEqual(statuses(await raw(port, text)), [405])
  })

  test('the framing is made anew: Connection cannot remove the length, nor what the relay adds', async (t) => {
    const { upstream, port } = await open(t)
    const named = 'Connection: close, content-length, x-forwarded-for, host, via, x-own'
    const answer = await raw(port, `${lines('POST /batch/ HTTP/1.1', 'Host: relay', named, 'X-Own: 1', 'Content-Length: 3', '')}abc`)
    assert.deepEqual(statuses(answer), [200])
    const [{ headers, body }] = upstream.requests
    assert.equal(body.toString(), 'abc')
    assert.deepEqual([headers['content-length'], headers['x-own']], ['3', undefined])
    assert.equal(headers['x-forwarded-for'], '127.0.0.1')
    assert.match(headers.via, /posthog-flag-cache-/)
    assert.equal(headers.host, new URL(upstream.url).host)
  })
})

describe('targets', LIMIT, () => {
  const targets = [
    '/../flags',
    '/static/../../secret',
    '/static/%2e%2e/secret',
    '/static/.%2E%2fsecret',
    '/static/..%5csecret',
    '/static/%5c..',
    '/a/./b',
    '/%',
    '/%c0%ae%c0%ae/x',
    'http://elsewhere.example/flags',
    'flags',
    '*',
  ]
  for (const target of targets) {
    test(`${target} gets a 400, and nothing is passed on`, async (t) => {
      const { upstream, port } = await open(t)
      const answer = await raw(port, lines(`GET ${target} HTTP/1.1`, 'Host: relay', 'Connection: close', ''))
      assert.deepEqual(statuses(answer), [400])
      assert.deepEqual(upstream.requests, [])
    })
  }

  test('no target leads to another host', async (t) => {
    const { upstream, port } = await open(t)
    for (const target of ['//elsewhere.example/flags', '/@elsewhere.example/', '/http://elsewhere.example/'])
      await raw(port, lines(`GET ${target} HTTP/1.1`, 'Host: elsewhere.example', 'Connection: close', ''))
    assert.deepEqual(
      upstream.requests.map(({ url, headers }) => [url, headers.host]),
      ['//elsewhere.example/flags', '/@elsewhere.example/', '/http://elsewhere.example/'].map((url) => [url, new URL(upstream.url).host]),
    )
  })

  test('a tunnel is not opened, and a connection not upgraded', async (t) => {
    const { upstream, port } = await open(t)
    assert.equal(await raw(port, lines('CONNECT elsewhere.example:443 HTTP/1.1', 'Host: elsewhere.example', '')), '')
    const upgrade = ['Connection: Upgrade, close', 'Upgrade: websocket']
    assert.deepEqual(statuses(await raw(port, lines('GET /ws HTTP/1.1', 'Host: relay', ...upgrade, ''))), [200])
    assert.equal(upstream.requests[0].headers.upgrade, undefined)
  })
})

describe('slow and many', LIMIT, () => {
  test('headers that come too slowly end the connection', async (t) => {
    const { port } = await open(t, { limits: { headersMs: 200 } })
    assert.deepEqual(statuses(await raw(port, 'GET /flags HTTP/1.1\r\n', 'X-Slow: ')), [408])
  })

  test('a body that comes too slowly ends the exchange, on both sides', async (t) => {
    const gone = []
    const answer = (request) => request.resume().once('error', () => gone.push(request))
    const { port, relay } = await open(t, { limits: { headersMs: 200, requestMs: 400 }, answer })
    await raw(port, lines('POST /batch/ HTTP/1.1', 'Host: relay', 'Content-Length: 1000', ''), 'a few')
    await until(() => gone.length === 1 && relay.upstream.requests === 0)
  })

  test('a client that does not read its answer is cut off', async (t) => {
    const answer = (_, response) => {
      const write = () => {
        while (response.write(Buffer.alloc(65_536)));
      }
      response.on('drain', write)
      write()
    }
    const { port, relay } = await open(t, { limits: { silenceMs: 300 }, answer })
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    t.after(() => socket.destroy())
    socket.pause()
    socket.write(lines('GET /stream HTTP/1.1', 'Host: relay', ''))
    await until(() => relay.upstream.requests === 1)
    await until(() => relay.upstream.requests === 0)
  })

  test('a PostHog that hangs costs a 504, and one that stops halfway the connection', async (t) => {
    const answer = ({ url }, response) => url === '/half' && response.writeHead(200, { 'content-length': 10 }).write('half')
    const { url, relay, troubles } = await open(t, { proxyLimits: { silenceMs: 300 }, answer })
    const { status, body } = await exchange(`${url}/flags`, { method: 'POST', body: 'x' })
    assert.deepEqual([status, JSON.parse(body).code], [504, 'upstream_timeout'])
    await assert.rejects(exchange(`${url}/half`), { code: 'ECONNRESET' })
    assert.equal(relay.upstream.requests, 0)
    assert.ok(troubles.some(({ message }) => /ETIMEDOUT/.test(message)))
  })

  test('requests above the limit of concurrent requests get a 503 at once', async (t) => {
    const held = []
    const answer = (_, response) => held.push(response)
    const { url } = await open(t, { proxyLimits: { maxRequests: 3 }, answer })
    const waiting = [1, 2, 3].map(() => exchange(`${url}/flags`))
    await until(() => held.length === 3)
    const { status, headers, body } = await exchange(`${url}/flags`)
    assert.deepEqual([status, headers['retry-after'], JSON.parse(body).code], [503, '1', 'relay_busy'])
    for (const response of held) response.end()
    await Promise.all(waiting)
    const next = exchange(`${url}/flags`)
    await until(() => held[3]?.end())
    assert.equal((await next).status, 200)
  })

  test('2,000 idle connections neither cost an answer nor stay for ever', async (t) => {
    const api = await standIn(t)
    const { url, port } = await startRelay(t, { api, limits: { headersMs: 3_000 } })
    const idle = Array.from({ length: 2_000 }, () => connect(port, '127.0.0.1').on('error', () => {}))
    t.after(() => idle.forEach((socket) => void socket.destroy()))
    await Promise.all(idle.map((socket) => once(socket, 'connect')))
    const asked = ask(url, api)
    const agent = new Agent({ keepAlive: true })
    t.after(() => agent.destroy())
    for (let n = 0; n < 20; n++) assert.equal((await exchange(asked.url, { ...asked, agent })).status, 200)
    await Promise.all(idle.map((socket) => socket.closed || once(socket.resume(), 'close')))
  })

  test('an unused body is read for a while: the client gets its answer, and no reset', async (t) => {
    const { api, url } = await open(t)
    const asked = ask(url, api)
    const sending = request(asked.url, { method: 'POST', headers: asked.headers })
    const ended = once(sending, 'close')
    let error
    sending.on('error', (cause) => (error = cause))
    sending.end(Buffer.alloc(20 << 20))
    const [response] = await once(sending, 'response')
    await Promise.all([response.toArray(), ended])
    assert.deepEqual([response.statusCode, error], [405, undefined])
  })

  test('a PostHog that stops reading an upload costs a 504', async (t) => {
    // The client's own limit is longer, but not twice as long.
    const limits = { limits: { silenceMs: 900 }, proxyLimits: { silenceMs: 500 } }
    const { url } = await open(t, { answer: (request) => request.pause(), ...limits })
    const { status } = await exchange(`${url}/batch/`, { method: 'POST', body: Buffer.alloc(20_000_000) })
    assert.equal(status, 504)
  })

  test('an upgrade that nobody asked for costs a 502', async (t) => {
    const upgraded = lines('HTTP/1.1 101 Switching Protocols', 'Connection: upgrade', 'Upgrade: websocket', '')
    const { url } = await open(t, { answer: (request) => request.socket.end(upgraded) })
    assert.equal((await exchange(`${url}/flags`)).status, 502)
  })

  test('no header is dropped, however many there are', async (t) => {
    const { upstream, port } = await open(t)
    const many = Array.from({ length: 3_000 }, () => 'a:')
    const text = lines('POST /batch/ HTTP/1.1', 'Host: relay', 'Connection: close', ...many, 'Content-Length: 4', '', 'body').trimEnd()
    assert.deepEqual(statuses(await raw(port, text)), [200])
    assert.equal(upstream.requests[0].body.toString(), 'body')
  })

  for (const [what, hosts] of Object.entries({ two: ['a', 'b'], 'the same twice': ['a', 'a'], invalid: ['a b@c/d?e'] })) {
    test(`a Host header that is ${what} gets a 400, and nothing is passed on`, async (t) => {
      const { upstream, port } = await open(t)
      const given = lines('GET /flags HTTP/1.1', 'Connection: close', ...hosts.map((host) => `Host: ${host}`), '')
      assert.deepEqual(statuses(await raw(port, given)), [400])
      assert.deepEqual(upstream.requests, [])
    })
  }

  test('headers beyond Node.js’s limit get a 431', async (t) => {
    const { upstream, url } = await open(t)
    assert.equal((await exchange(`${url}/flags`, { headers: { 'x-large': 'a'.repeat(20_000) } })).status, 431)
    assert.deepEqual(upstream.requests, [])
  })
})

describe('in a process of its own', LIMIT, () => {
  async function start(t, { answer, args = [], ...env } = {}) {
    const api = await standIn(t, { secretKey: SECRET_KEY })
    const upstream = await startUpstream(t, answer)
    const { child, line, ended } = startCli(['relay', '--port', '0', ...args], {
      env: {
        POSTHOG_FLAG_CACHE_URL: 'memory:',
        POSTHOG_PROJECT_KEY: api.projectKey,
        POSTHOG_SECRET_KEY: api.secretKey,
        POSTHOG_HOST: upstream.url,
        ...env,
      },
      timeoutMs: 120_000,
    })
    t.after(() => child.kill('SIGKILL'))
    const url = (await line()).replace('listening at ', '')
    const peakBytes = () => Number(readFileSync(`/proc/${child.pid}/status`, 'utf8').match(/VmHWM:\s+(\d+) kB/)[1]) * 1024
    return { api, upstream, url, child, ended, peakBytes }
  }

  /** Uploads so many bytes; what came back, if anything did. */
  async function upload(url, length, headers) {
    const chunk = Buffer.alloc(1 << 20)
    const sending = request(url, { method: 'POST', headers: { 'content-length': length, ...headers } })
    const failed = once(sending, 'error').then(
      () => undefined,
      () => undefined,
    )
    const answered = once(sending, 'response').then(
      ([response]) => response,
      () => undefined,
    )
    let isOver = false
    for (const promise of [failed, answered]) promise.then(() => (isOver = true))
    for (let sent = 0; sent < length && !isOver; sent += chunk.length) {
      if (!sending.write(chunk)) await Promise.race([once(sending, 'drain').catch(() => {}), failed, answered])
    }
    sending.end()
    const response = await Promise.race([failed, answered])
    response?.resume()
    return response?.statusCode
  }

  const GIGABYTE = 1 << 30
  const FEW = 256 << 20
  const proc = { skip: process.platform !== 'linux' && 'there is no /proc' }

  test('a body of 1 GB is passed on, and costs no memory', proc, async (t) => {
    let received = 0
    const answer = (request, response) => {
      request.on('data', (chunk) => (received += chunk.length)).on('end', () => response.end())
    }
    const { url, peakBytes } = await start(t, { answer })
    const before = peakBytes()
    assert.equal(await upload(`${url}/batch/`, GIGABYTE), 200)
    assert.equal(received, GIGABYTE)
    assert.ok(peakBytes() - before < FEW, `${peakBytes() - before} bytes`)
  })

  test('an unused body of 1 GB is not read', proc, async (t) => {
    const { api, url, peakBytes } = await start(t)
    const before = peakBytes()
    const asked = ask(url, api)
    assert.equal(await upload(asked.url, GIGABYTE, asked.headers), 405)
    assert.ok(peakBytes() - before < FEW, `${peakBytes() - before} bytes`)
  })

  test('whatever fails, neither a key nor an address asked for is logged', async (t) => {
    const { api, upstream, url, child, ended } = await start(t, { answer: (_, response) => response.destroy() })
    const hidden = { authorization: `Bearer ${SECRET_KEY}`, cookie: 'ph=hidden_cookie' }
    await exchange(ask(url, api).url, { headers: { authorization: 'Bearer phs_hidden_other' } })
    await exchange(`${url}/flags?token=phc_hidden_token`, { method: 'POST', headers: hidden, body: 'hidden_body' })
    await raw(new URL(url).port, `GET /?hidden_query HTTP/1.1\r\nAuthorization: Bearer ${SECRET_KEY}\r\nBroken\r\n\r\n`)
    upstream.server.close()
    upstream.server.closeAllConnections()
    await exchange(`${url}/flags?token=phc_hidden_token`, { method: 'POST', headers: hidden, body: 'hidden_body' })
    child.kill('SIGTERM')
    const { code, stdout, stderr } = await ended
    assert.equal(code, 0)
    assert.match(stderr, /ERR_FLAG_CACHE_API/)
    assert.doesNotMatch(stdout + stderr, new RegExp(`hidden|${SECRET_KEY}|Bearer|token=`))
  })
})
