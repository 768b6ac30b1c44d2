// What the option `tls` is for: a server that shows a certificate and asks for one. tests/it/topologies/tls.rs has the rest.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'

import { startAuthority } from '../support/authority.mjs'
import { elsewhere, failure, openCache, standIn, startClient } from '../support/client.mjs'
import { newProjectKey, redisFor } from '../support/stores.mjs'

/** A server of an authority of its own, and what a client needs that both sides trust. */
async function openSecured(t) {
  const authority = startAuthority(t)
  const { port } = await redisFor(t, { args: authority.serverArguments() })
  return { url: `rediss://127.0.0.1:${port}`, tls: { ca: authority.ca, ...authority.identity('worker') } }
}

test('with mutual TLS, one process publishes and another one reads', async (t) => {
  const { url, tls } = await openSecured(t)
  const api = await standIn(t)
  const client = startClient(t, { api, url, tls })
  await client.ready()
  assert.equal(await client.evaluate(), 'v1')
  assert.deepEqual(client.errors, [])
  const reader = openCache(t, { projectKey: api.projectKey, url, tls, role: 'reader', ...elsewhere() })
  const { flags } = await reader.getFlagDefinitions()
  assert.deepEqual(flags, JSON.parse(api.text).flags)
  assert.equal(api.calls.length, 1)
})

test("a server with an unknown CA is rejected, and so is a client without a certificate or with another CA's", async (t) => {
  const { url, tls } = await openSecured(t)
  const another = startAuthority(t, 'another authority')
  const refused = async (given, why) => {
    const cache = openCache(t, { projectKey: newProjectKey(), url, tls: given })
    const error = await failure(cache.getFlagDefinitions())
    assert.equal(error.code, 'ERR_FLAG_CACHE_UNAVAILABLE')
    assert.match(error.message, why)
    const shown = inspect([error, cache, cache.status()], { depth: null, showHidden: true })
    assert.ok(!shown.includes(tls.key.split('\n')[1]), 'it shows the key')
  }
  // With TLS 1.3 the connection may break before the server's alert is read.
  const rejected = /rejected the TLS connection|cannot be reached/
  await refused({ ...tls, ca: another.ca }, /does not trust: invalid peer certificate: UnknownIssuer\. Pass the CA /)
  await refused({ ca: tls.ca }, rejected)
  await refused({ ...tls, ...another.identity('worker') }, rejected)
})
