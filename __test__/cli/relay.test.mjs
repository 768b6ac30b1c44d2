// relay: the server in a process of its own. What it serves is tested in __test__/relay/.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { createServer } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'

import { now } from '../../dev/harness/clock.mjs'
import { startAuthority } from '../support/authority.mjs'
import { cli, environment, startCli } from '../support/cli.mjs'
import { standIn } from '../support/client.mjs'
import { ask, exchange, startUpstream } from '../support/relay.mjs'
import { STORES, temporaryDirectory } from '../support/stores.mjs'

async function start(t, { args = [], url = 'memory:', ...env } = {}) {
  const api = await standIn(t)
  const started = startCli(['relay', '--port', '0', ...args], { env: { ...environment({ url, api }), ...env }, timeoutMs: 60_000 })
  t.after(() => started.child.kill('SIGKILL'))
  const place = (await started.line()).replace('listening at ', '')
  return { api, url: place, ...started }
}

test('it listens only on this host, and serves definitions', async (t) => {
  const { api, url } = await start(t)
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
  const asked = ask(url, api)
  const { status, body } = await exchange(asked.url, asked)
  assert.deepEqual([status, body.toString()], [200, api.text])
})

test('--address, --upstream and --no-proxy say where it listens, and where PostHog is', async (t) => {
  const upstream = await startUpstream(t)
  const { url } = await start(t, { args: ['--address', '::1', '--upstream', upstream.url] })
  assert.match(url, /^http:\/\/\[::1\]:\d+$/)
  assert.equal((await exchange(`${url}/flags`)).status, 200)
  assert.equal(upstream.requests.length, 1)
  const { url: closed } = await start(t, { args: ['--no-proxy'] })
  assert.equal((await exchange(`${closed}/flags`)).status, 404)
})

test('over TLS it passes requests on only to servers that Node.js trusts', async (t) => {
  const authority = startAuthority(t)
  const received = []
  const upstream = createServer(authority.identity('posthog'), (request, response) => {
    // Not the definitions, for which the relay asks again.
    if (request.method === 'POST') received.push(request.url)
    request.pipe(response)
  })
  await once(upstream.listen(0, '127.0.0.1'), 'listening')
  t.after(() => upstream.close())
  const place = `https://127.0.0.1:${upstream.address().port}`
  const ca = join(temporaryDirectory(t), 'ca.pem')
  writeFileSync(ca, authority.ca)
  const { url } = await start(t, { args: ['--upstream', place], NODE_EXTRA_CA_CERTS: ca })
  const { status, body } = await exchange(`${url}/batch/`, { method: 'POST', body: 'as it is' })
  assert.deepEqual([status, body.toString()], [200, 'as it is'])
  const { url: other } = await start(t, { args: ['--upstream', place] })
  assert.equal((await exchange(`${other}/batch/`, { method: 'POST', body: 'as it is' })).status, 502)
  assert.deepEqual(received, ['/batch/'])
})

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`after ${signal} it answers what it has begun, takes nothing new, and ends with 0`, async (t) => {
    let finish
    const begun = new Promise((begin) => {
      startUpstream(t, (_, response) => {
        response.write('begun')
        finish = () => response.end(', and ended')
      }).then(begin)
    })
    const upstream = await begun
    const { url, child, ended } = await start(t, { args: ['--upstream', upstream.url] })
    const agent = new Agent({ keepAlive: true })
    t.after(() => agent.destroy())
    // A connection that its client keeps.
    await exchange(`${url}/healthz`, { agent })
    const [response] = await once(request(`${url}/stream`, { agent }).end(), 'response')
    await once(response.setEncoding('utf8'), 'data')
    child.kill(signal)
    await refused(url)
    finish()
    const finishedAt = now()
    assert.equal((await response.toArray()).join(''), ', and ended')
    assert.deepEqual(await ended.then(({ code, stderr }) => [code, stderr.replace(/^.*404.*\n/gm, '')]), [0, ''])
    // Not only when the limit for draining ends.
    assert.ok(now() - finishedAt < 6_000)
  })
}

test('a connection without a whole request does not delay its end', async (t) => {
  const { url, child, ended } = await start(t)
  for (const text of ['', 'GET /healthz HTTP/1.1\r\n']) {
    const socket = connect(new URL(url).port, '127.0.0.1').on('error', () => {})
    t.after(() => socket.destroy())
    await once(socket, 'connect')
    socket.write(text)
  }
  // Then both are accepted.
  await exchange(`${url}/healthz`)
  const from = now()
  child.kill('SIGTERM')
  assert.equal((await ended).code, 0)
  // The limit for draining is 8 s.
  assert.ok(now() - from < 6_000)
})

test('at its end it releases the lease', async (t) => {
  const store = await STORES.redis()
  t.after(() => store.close())
  const { api, url, child, ended } = await start(t, { url: store.url })
  const asked = ask(url, api)
  assert.equal((await exchange(asked.url, asked)).status, 200)
  const leader = async () => JSON.parse((await cli(['status', '--json'], { env: environment({ url: store.url, api }) })).stdout).leader
  assert.match(await leader(), new RegExp(`:${child.pid}:`))
  child.kill('SIGTERM')
  assert.equal((await ended).code, 0)
  assert.equal(await leader(), null)
})

/** Resolves once nobody listens there. */
async function refused(url) {
  for (;;) {
    const error = await exchange(`${url}/healthz`).then(
      () => undefined,
      (error) => error,
    )
    if (error?.code === 'ECONNREFUSED') return
  }
}

describe('what cannot be', () => {
  const bad = {
    'a port that is none': [['--port', '65536'], /--port needs a number/],
    'an address with a password': [['--upstream', 'https://a:s3cret@b'], /--upstream .* like https:\/\/eu\.i\.posthog\.com/],
    'no secret key': [[], /relay needs the secret key/, { POSTHOG_SECRET_KEY: '' }],
    'an unknown option': [['--host', 'https://eu.i.posthog.com'], /unknown option --host;/],
  }
  for (const [what, [args, message, env]] of Object.entries(bad)) {
    test(`${what} ends it with 2`, async (t) => {
      const api = await standIn(t)
      const { code, stdout, stderr } = await cli(['relay', ...args], { env: { ...environment({ url: 'memory:', api }), ...env } })
      assert.deepEqual([code, stdout], [2, ''])
      assert.match(stderr, message)
      assert.doesNotMatch(stderr, /s3cret/)
    })
  }

  test('it exits with 1 if the port is in use', async (t) => {
    const upstream = await startUpstream(t)
    const api = await standIn(t)
    const { code, stderr } = await cli(['relay', '--port', new URL(upstream.url).port], { env: environment({ url: 'memory:', api }) })
    assert.equal(code, 1)
    assert.match(stderr, /\[EADDRINUSE\]/)
  })
})
