// SDKs that cannot use the provider, each with a relay as its `host`: posthog-python, posthog-node, and posthog-node's edge entry in
// workerd, beside a fleet on the same Redis. Installs what it starts from PyPI and npm.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'

import { now } from '../../dev/harness/clock.mjs'
import { VERSION_FLAG } from '../../dev/harness/definitions.mjs'
import { startPython } from '../../dev/harness/sdks/python.mjs'
import { startWorkerd } from '../../dev/harness/sdks/workerd.mjs'
import { addEveryKind, USERS } from '../support/every-kind.mjs'
import { openRelayedFleet, POLL_MS } from '../support/relayed-fleet.mjs'

test('Python, edge functions and Node.js evaluate the same through one relay, with one request to PostHog per interval', {
  timeout: 300_000,
}, async (t) => {
  const { api, fleet, host, startRelay, startClient, assertPaced } = await openRelayedFleet(t)
  const passedOn = []
  api.on('other', (request) => passedOn.push(request))
  const begunAt = now()
  await startRelay()
  const where = { host, api, pollMs: POLL_MS }
  const [workers, node] = [await fleet.start(4), startClient()]
  const clients = [startPython(where), await startWorkerd(where)]
  for (const { close } of clients) t.after(close)
  const [python, edge] = clients.map(({ ask }) => ask)
  await Promise.all([python('load'), edge('load'), node.ready()])

  const sdks = { python, edge, node: async (_, users) => Promise.all(users.map((user) => node.client.getAllFlags(...user))) }
  const assertSame = async () => {
    const expected = await workers[0].ask('evaluateUsers', USERS)
    for (const [name, ask] of Object.entries(sdks)) assert.deepEqual(await ask('evaluate', USERS), expected, name)
    return expected
  }
  const flags = await assertSame()
  for (const key of ['half', 'variants', 'needs-half', 'needs-test', 'in-cohort', 'of-organization'])
    assert.ok(new Set(flags.map((found) => found[key])).size > 1, `${key} differs between users`)

  for (let n = 0; n < 3; n += 1) {
    const fetched = api.nextCall(({ status }) => status === 200)
    const version = api.edit(addEveryKind)
    await fetched
    await fleet.everyone({ version })
    // One poll of each.
    await Promise.all([python('load'), edge('load'), node.until(version)])
    for (const found of await assertSame()) assert.equal(found[VERSION_FLAG], version)
  }
  assertPaced(begunAt, 0)

  for (const [name, ask] of Object.entries({ python, edge })) {
    passedOn.length = 0
    const event = `größe from ${name}`
    await ask('capture', event)
    await ask('decide')
    const uploads = passedOn.map(({ headers, body }) =>
      (headers['content-encoding'] === 'gzip' || isGzip(body) ? gunzipSync(body) : body).toString(),
    )
    assert.ok(
      uploads.some((text) => text.includes(event) || text.includes(JSON.stringify(event).replace(/[^\x00-\x7f]/g, escaped))),
      uploads.join('\n'),
    )
    assert.ok(
      passedOn.some(({ url }) => url.startsWith('/flags')),
      name,
    )
    for (const { headers } of passedOn) assert.equal(headers['x-forwarded-for'], '127.0.0.1')
  }
})

const isGzip = (body) => body[0] === 0x1f && body[1] === 0x8b
/** As Python writes what is not ASCII. */
const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
