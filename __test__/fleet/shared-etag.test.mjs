// Fleets of real posthog-node processes that share one ETag: what they cost, and that a rollback reaches everyone.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { now } from '../../dev/harness/clock.mjs'
import { floorOf } from '../../dev/bench/floor.mjs'
import { assertPaced, LATE_POLLS, openSharingFleet, POLL_MS } from '../support/sharing-fleet.mjs'
import { STORES } from '../support/stores.mjs'

/** When no process is in the middle of a load: stopped there it would hold an answer, or the directory's lock. */
const atRest = (fleet) => Promise.all(fleet.workers.map((worker) => !worker.stopped && worker.reload()))

for (const kind of ['redis', 'directory']) {
  describe(`a fleet that shares one ETag over ${kind}`, () => {
    let store
    before(async () => (store = await STORES[kind]()))
    after(() => store.close())
    const size = kind === 'redis' ? 8 : 4

    test(`a rolling deploy of ${size} costs no full fetch`, async (t) => {
      const { api, fleet } = await openSharingFleet(t, store)
      await fleet.start(1)
      await fleet.start(size - 1, { together: true })
      // A process is replaced right after a call: most calls come from another one than the last.
      const fresh = await fleet.deploy({ pace: () => api.nextCall(() => true) })
      await api.nextCall(() => true)
      const until = now()
      const callers = new Set(api.calls.map(({ worker }) => worker))
      t.diagnostic(`${api.calls.length} calls by ${callers.size} processes, billed ${api.bill}`)
      assert.equal(fresh.length, size)
      assert.ok(callers.size > 1, 'nobody else ever fetched')
      assert.deepEqual(
        api.calls.slice(1).filter(({ status }) => status !== 304),
        [],
      )
      assertPaced(api)
      const { atFloor, paid, bill } = floorOf({ calls: api.calls, intervalMs: POLL_MS, until })
      assert.ok(atFloor, `paid ${paid}, where the floor is ${bill}`)
      assert.deepEqual(fleet.errors, [])
    })

    const lives = kind === 'redis' ? 20 : 6
    test(`${lives} short-lived processes, one after another, cost one full fetch`, async (t) => {
      const { api, fleet } = await openSharingFleet(t, store)
      for (let n = 0; n < lives; n += 1) {
        const [worker] = await fleet.start(1)
        assert.equal(worker.version, 'v1')
        await worker.shutdown()
      }
      t.diagnostic(`${api.calls.length} calls, billed ${api.bill}`)
      assert.ok(api.calls.length > 1, 'they lived within one interval')
      assert.deepEqual(
        api.calls.slice(1).filter(({ status }) => status !== 304),
        [],
      )
      assertPaced(api)
      assert.deepEqual(fleet.errors, [])
    })

    test('v1, v2, back to v1 while SIGSTOP changes the leader: every process is back on v1 within two polls', async (t) => {
      const { api, fleet } = await openSharingFleet(t, store)
      const [first] = await fleet.start(1)
      const others = await fleet.start(2)
      await atRest(fleet)
      fleet.stop(first)
      api.edit()
      await fleet.everyone({ version: 'v2' })
      assert.equal(first.version, 'v1')
      // To the first again, whose own ETag is that of v1.
      await atRest(fleet)
      api.rollback(1)
      for (const worker of others) fleet.stop(worker)
      fleet.continue(first)
      const { worker, sentEtag } = await api.nextCall((call) => call.status === 200)
      assert.equal(worker, first.id)
      assert.notEqual(sentEtag, api.etag, 'it asked with its own ETag')
      const before = api.calls.length
      for (const worker of others) fleet.continue(worker)
      await fleet.everyone({ version: 'v1' })
      assert.ok(api.calls.length - before <= 2 + LATE_POLLS, `${api.calls.length - before} calls later`)
      assert.deepEqual(fleet.errors, [])
    })

    test('v1, v2, back to v1 while the leaders are killed: every process is back on v1 within two polls', async (t) => {
      const { api, fleet } = await openSharingFleet(t, store)
      const [first] = await fleet.start(1)
      const [second] = await fleet.start(1)
      const readers = await fleet.start(2, { secretKey: null })
      await atRest(fleet)
      fleet.stop(first)
      api.edit()
      await fleet.everyone({ version: 'v2' })
      await atRest(fleet)
      api.rollback(1)
      await fleet.kill(second, 'SIGKILL')
      fleet.continue(first)
      await api.nextCall((call) => call.status === 200 && call.worker === first.id)
      const before = api.calls.length
      await fleet.everyone({ version: 'v1' })
      assert.ok(api.calls.length - before <= 2 + LATE_POLLS, `${api.calls.length - before} calls later`)
      for (const { history } of readers)
        assert.deepEqual(
          history.map(({ version }) => version),
          ['v1', 'v2', 'v1'],
        )
      assert.deepEqual(fleet.errors, [])
    })
  })
}

describe('the patterns that share no ETag', { concurrency: true }, () => {
  let store
  before(async () => (store = await STORES.redis()))
  after(() => store.close())

  for (const kind of ['docstring', 'kilo', 'python']) {
    test(`'${kind}' stays on v2 in the same situation: the ETag of its own v1 still matches`, async (t) => {
      const { api, fleet } = await openSharingFleet(t, store, { kind })
      const [first] = await fleet.start(1)
      const [second] = await fleet.start(1)
      await fleet.start(2, { secretKey: null, untilReady: false })
      await atRest(fleet)
      fleet.stop(first)
      api.edit()
      await fleet.everyone({ version: 'v2', timeoutMs: 30_000 })
      await atRest(fleet)
      api.rollback(1)
      await fleet.kill(second, 'SIGKILL')
      fleet.continue(first)
      for (let n = 0; n < 3; n += 1) {
        assert.equal((await api.nextCall((call) => call.worker === first.id)).status, 304)
      }
      const [, , ...readers] = fleet.all
      for (const reader of readers) assert.equal(await reader.evaluate(), 'v2')
    })
  }
})
