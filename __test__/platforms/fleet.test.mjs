// A fleet of four processes on another platform, whose Node.js `process.execPath` runs. scripts/test-platforms.mjs starts it.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Fleet } from '../../dev/harness/fleet.mjs'
import { OURS } from '../../dev/harness/providers.mjs'
import { standIn } from '../support/client.mjs'
import { STORES } from '../support/stores.mjs'

/** An emulator takes seconds for what takes milliseconds elsewhere. */
const SLOW = { timeoutMs: 120_000 }
const INTERVAL_MS = 1_000

async function start(t, kind) {
  const store = await STORES[kind]()
  t.after(() => store.close())
  const api = await standIn(t)
  const options = { url: store.url, refreshIntervalMs: INTERVAL_MS, leaseTtlMs: 8_000, coldStartWaitMs: 60_000 }
  const fleet = new Fleet({ api, kind: OURS, options, pollingIntervalMs: INTERVAL_MS, sharedEtag: true })
  t.after(() => fleet.destroy())
  await fleet.start(4, { together: true, ...SLOW })
  await fleet.everyone({ version: 'v1', ...SLOW })
  return { api, fleet }
}

for (const kind of ['redis', 'directory']) {
  test(`over ${kind}, four processes fetch once, get an edit, and go on when the leader is killed`, async (t) => {
    const { api, fleet } = await start(t, kind)
    assert.equal(api.count(200), 1)
    api.edit()
    await fleet.everyone({ version: 'v2', ...SLOW })
    await fleet.leader.kill()
    api.edit()
    await fleet.everyone({ version: 'v3', ...SLOW })
    assert.equal(api.count(200), 3)
    assert.deepEqual(fleet.errors, [])
  })
}

test('over memory, four processes fetch for themselves', async (t) => {
  const { api, fleet } = await start(t, 'memory')
  assert.equal(api.count(200), 4)
  assert.deepEqual(fleet.errors, [])
})
