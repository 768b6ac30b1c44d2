// A fleet that starts on an empty cache while PostHog is slow, for all of its processes or for the first one.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { openSharingFleet } from '../support/sharing-fleet.mjs'
import { STORES } from '../support/stores.mjs'

/** One poll only, and requests that nobody gives up. */
const PATIENT = { pollMs: 60_000, posthogOptions: { requestTimeout: 60_000 } }

describe('on an empty cache', () => {
  const stores = {}
  before(async () => {
    for (const kind of ['redis', 'directory']) stores[kind] = await STORES[kind]()
  })
  after(() => Promise.all(Object.values(stores).map((store) => store.close())))

  for (const kind of ['redis', 'directory']) {
    test(`over ${kind}, PostHog answers later than coldStartWaitMs: its first answer serves all`, async (t) => {
      // The request of the process that takes over is answered 2 s after that.
      const { api, fleet } = await openSharingFleet(t, stores[kind], { ...PATIENT, delayMs: 3_000, coldStartWaitMs: 2_000 })
      await fleet.start(8, { together: true })
      assert.equal(api.count(200), 1)
      assert.equal(api.calls.length, 2, 'one process took over')
      assert.deepEqual(fleet.errors, [])
    })

    // Half an answer counts as one, too: PostHog bills it.
    for (const [answer, what, answers] of [
      ['silence', 'is never answered', 1],
      ['stalled', 'is answered by half a body', 2],
    ]) {
      test(`over ${kind}, the first request ${what}: one process takes over for all, including the first one`, async (t) => {
        const { api, fleet } = await openSharingFleet(t, stores[kind], { ...PATIENT, coldStartWaitMs: 500 })
        api.next(answer)
        await fleet.start(4, { together: true })
        assert.equal(api.count(200), answers)
        assert.equal(api.calls.length, 2)
        assert.deepEqual(fleet.errors, [])
      })
    }
  }
})
