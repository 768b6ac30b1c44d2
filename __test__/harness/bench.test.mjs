// What the benchmark stands on: its definitions, and its count of bytes.

import { deepStrictEqual, equal, ok } from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { test } from 'node:test'

import { edit, editedAt, largeDefinitions } from '../../dev/bench/large-definitions.mjs'
import { startCountingProxy } from '../../dev/bench/perf/counting-proxy.mjs'

const BYTES = 500_000

test('the definitions have the size that was asked for, and are the same for the same seed', () => {
  const text = JSON.stringify(largeDefinitions({ bytes: BYTES, seed: 7 }))
  const bytes = Buffer.byteLength(text)
  ok(bytes >= BYTES && bytes < 1.05 * BYTES, `${bytes} bytes`)
  equal(JSON.stringify(largeDefinitions({ bytes: BYTES, seed: 7 })), text)
  ok(JSON.stringify(largeDefinitions({ bytes: BYTES, seed: 8 })) !== text)
})

test('the definitions have what real ones have, and each key once', () => {
  const { flags, cohorts } = largeDefinitions({ bytes: BYTES })
  equal(new Set(flags.map(({ key }) => key)).size, flags.length)
  const inOtherScripts = flags.filter(({ name }) => /[^\x00-\x7f]/.test(name)).length / flags.length
  ok(inOtherScripts > 0.04 && inOtherScripts < 0.06, `${inOtherScripts}`)
  ok(flags.some(({ filters }) => filters.multivariate) && flags.some(({ filters }) => Object.keys(filters.payloads).length > 0))
  const properties = flags.flatMap(({ filters }) => filters.groups.flatMap((group) => group.properties))
  const used = properties.filter(({ type }) => type === 'cohort').map(({ value }) => value)
  ok(used.length > 0 && used.every((id) => cohorts[id]))
})

test('an edit changes one flag and leaves the rest, and the set before it, as they are', () => {
  const set = largeDefinitions({ bytes: BYTES })
  const before = JSON.stringify(set)
  const edited = edit(set, 3)
  const changed = set.flags.flatMap((flag, index) => (edited.flags[index] === flag ? [] : [index]))
  deepStrictEqual(changed, [editedAt(set, 3)])
  equal(JSON.stringify(set), before)
  ok(JSON.stringify(edited) !== before)
})

test('the proxy counts the bytes of both directions, once', async () => {
  const server = createServer((socket) => socket.on('data', (chunk) => socket.write(Buffer.concat([chunk, chunk]))))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const proxy = await startCountingProxy(server.address().port)
  const client = connect(new URL(proxy.url).port, '127.0.0.1')
  client.write('12345')
  let received = 0
  while (received < 10) received += (await once(client, 'data'))[0].length
  deepStrictEqual(proxy.take(), { sent: 5, received: 10 })
  deepStrictEqual(proxy.take(), { sent: 0, received: 0 })
  client.destroy()
  await proxy.close()
  server.close()
})
