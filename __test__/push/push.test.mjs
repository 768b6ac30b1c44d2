// Push: an edit reaches every process of a fleet when the first one knows it, not at its next poll.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { now } from '../../dev/harness/clock.mjs'
import { openSharingFleet } from '../support/sharing-fleet.mjs'
import { redisWithoutResp3, STORES } from '../support/stores.mjs'

/** The leader's, which finds the edits, and that of the others. */
const LEADER_POLL_MS = 1_000
const POLL_MS = 20_000
const FLEET = 8
const EDITS = 5

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

/** Between the first process and the last to evaluate `version`. */
function spreadOf(fleet, version) {
  const at = fleet.workers.map(({ history }) => history.findLast((change) => change.version === version).at)
  return Math.max(...at) - Math.min(...at)
}

/** The store of a fleet, and how notices arrive from it. */
const KINDS = {
  redis: [STORES.redis, 'push'],
  'redis without RESP3': [redisWithoutResp3, 'second-connection'],
  directory: [STORES.directory, null],
}

for (const [kind, [open, notices]] of Object.entries(KINDS)) {
  describe(`a fleet of ${FLEET} with push over ${kind}`, () => {
    let store
    before(async () => (store = await open()))
    after(() => store.close())

    test('sees an edit in every process a fraction of a poll after the first one, without an additional request', async (t) => {
      const options = { refreshIntervalMs: LEADER_POLL_MS, leaseTtlMs: POLL_MS }
      const { api, fleet } = await openSharingFleet(t, store, { push: true, pollMs: POLL_MS, ...options })
      const [leader] = await fleet.start(1, { pollingIntervalMs: LEADER_POLL_MS })
      await fleet.start(FLEET - 1, { together: true })
      const spreads = []
      for (let edit = 0; edit < EDITS; edit += 1) {
        const version = api.edit()
        await fleet.everyone({ version, timeoutMs: POLL_MS })
        spreads.push(spreadOf(fleet, version))
      }
      t.diagnostic(`last process minus first: ${spreads.map(Math.round).join(', ')} ms, polls of ${POLL_MS} ms`)
      assert.ok(median(spreads) < POLL_MS / 10, `a median of ${median(spreads)} ms`)
      assert.ok(
        api.calls.every(({ worker }) => worker === leader.id),
        'another one called PostHog',
      )
      assert.equal(api.count(200), 1 + EDITS)
      const statuses = await Promise.all(fleet.workers.map((worker) => worker.status()))
      const updates = statuses.map(({ updates }) => updates)
      assert.deepEqual(updates, [0, ...Array(FLEET - 1).fill(EDITS)], 'told once of each edit, but not who fetched it')
      for (const { provider } of statuses) assert.equal(provider.backend.notices, notices)
      assert.deepEqual(fleet.errors, [])
    })

    test('sees an edit in every process one request after invalidate() and a reload in one process', async (t) => {
      const { api, fleet } = await openSharingFleet(t, store, { push: true, pollMs: 120_000 })
      await fleet.start(1)
      await fleet.start(FLEET - 1, { together: true })
      // Without it a reload within the interval reads the cache.
      await Promise.all(fleet.workers.map((worker) => worker.reload()))
      assert.equal(api.calls.length, 1)

      // In a process that never fetched.
      const caller = fleet.workers.at(-1)
      const startedAt = now()
      const version = api.edit()
      await caller.call('invalidate')
      assert.equal(await caller.reload(), version)
      await fleet.everyone({ version, timeoutMs: 30_000 })
      t.diagnostic(`everywhere after ${Math.round(now() - startedAt)} ms, polls of 120,000 ms`)
      assert.deepEqual(api.calls.map(({ worker, status }) => [worker, status]).slice(1), [[caller.id, 200]])
      assert.deepEqual(fleet.errors, [])
    })
  })
}
