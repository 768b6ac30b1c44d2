// What a fleet of real posthog-node processes costs PostHog while PostHog fails.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { openSharingFleet, POLL_MS } from '../support/sharing-fleet.mjs'
import { STORES } from '../support/stores.mjs'

/** posthog-node gives up before the lease ends, even where it is late. */
const options = { posthogOptions: { requestTimeout: 300 }, leaseTtlMs: 3 * POLL_MS }

const FAILURES = {
  '429 with Retry-After': { answer: 429, retryAfter: 2, pauseMs: 2_000, calls: 2 },
  500: { answer: 500 },
  silence: { answer: 'silence' },
  'truncated JSON and HTML in turn': { answer: 'truncated', next: 'html' },
}

const stores = {}
before(async () => {
  for (const kind of ['redis', 'directory']) stores[kind] = await STORES[kind]()
})
after(() => Promise.all(Object.values(stores).map((store) => store.close())))

/** Resolves after `n` failures: `answer`, `next`, and both again. */
async function failures(api, n, { answer, next = answer, retryAfter }) {
  for (let failure = 0; failure < n; failure += 1) {
    api.always(failure % 2 === 0 ? answer : next, { retryAfter })
    await api.nextCall(() => true)
  }
}

/** Each call but the first at least a pause after the one before. */
function assertPauses(calls, pauseMs) {
  for (let n = 1; n < calls.length; n += 1) {
    const apartMs = calls[n].at - calls[n - 1].at
    assert.ok(apartMs >= pauseMs, `calls ${n} and ${n + 1} are ${apartMs} ms apart`)
  }
}

/** At most one call of each process in an interval: another one tries after each failure. */
function assertEachPauses(calls, pauseMs) {
  for (const worker of new Set(calls.map(({ worker }) => worker)))
    assertPauses(
      calls.filter((call) => call.worker === worker),
      pauseMs,
    )
}

for (const [what, { pauseMs, calls = 6, ...failure }] of Object.entries(FAILURES)) {
  // PostHog asked the whole fleet to wait, or did not.
  const assertKeptOff = (calls) => (pauseMs ? assertPauses(calls, pauseMs) : assertEachPauses(calls, POLL_MS))

  describe(`while PostHog answers with ${what}`, () => {
    for (const kind of what === '500' ? ['redis', 'directory'] : ['redis']) {
      test(`a fleet over ${kind} that has definitions keeps them, and gets the newest afterwards`, async (t) => {
        const store = stores[kind]
        const { api, fleet } = await openSharingFleet(t, store, options)
        await fleet.start(1)
        await fleet.start(3, { together: true })
        await api.nextCall(() => true)
        const published = await store.stored(api.projectKey)
        const from = api.calls.length
        api.edit()
        await failures(api, calls, failure)
        assertKeptOff(api.calls.slice(from))
        assert.ok((await store.stored(api.projectKey)).equals(published), 'something was published')
        assert.deepEqual([...new Set(fleet.workers.map(({ version }) => version))], ['v1'])

        api.normal()
        const before = api.calls.length
        await fleet.everyone({ version: 'v2', timeoutMs: 20_000 })
        assert.equal(api.count(200, before), 1)
      })
    }

    test('a fleet that starts without definitions gets them afterwards, with one request', async (t) => {
      const store = stores.redis
      const { api, fleet } = await openSharingFleet(t, store, options)
      const failed = failures(api, calls, failure)
      await fleet.start(4, { together: true, untilReady: false })
      await failed
      // A process that failed tries again after a quarter of a second, and then after longer.
      assertEachPauses(api.calls, 250)
      assert.equal(await store.stored(api.projectKey), undefined)

      api.normal()
      const before = api.calls.length
      await fleet.everyone({ version: 'v1', timeoutMs: 20_000 })
      assert.equal(api.count(200, before), 1)
      assert.equal(api.remoteEvaluations, 0)
    })
  })
}

test('while PostHog rejects the key, each process fetches at most once per interval', async (t) => {
  const { api, fleet } = await openSharingFleet(t, stores.redis)
  await fleet.start(1)
  await fleet.start(3, { together: true })
  const from = api.calls.length
  await failures(api, 6, { answer: 401 })
  assertEachPauses(api.calls.slice(from), POLL_MS)
  assert.deepEqual([...new Set(fleet.workers.map(({ version }) => version))], ['v1'])
})
