// Fleets of real posthog-node processes that share a Redis.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { now, sleep } from '../../dev/harness/clock.mjs'
import { startRedis } from '../../dev/harness/redis.mjs'
import { callsAtMost, fleetSuite, openFleet, POLL_MS } from '../support/fleet-suite.mjs'
import { STORES } from '../support/stores.mjs'

describe('a fleet over Redis', () => fleetSuite(STORES.redis))

test('processes that lose their Redis fetch for themselves, and are back to one fetch per interval when it returns', async (t) => {
  let redis = await startRedis()
  t.after(() => redis.stop())
  const { api, begin, fleet } = await openFleet(t, redis, { leaseTtlMs: 20 * POLL_MS, clientName: 'of-the-fleet' })
  const workers = await begin(3)
  const alone = workers.map(({ id }) => api.nextCall(({ worker, n }) => worker === id && n >= 1))
  await redis.stop()
  await Promise.all(alone)
  await fleet.everyone({ version: api.edit() })

  redis = await startRedis({ port: redis.port })
  await connections(redis, 3)
  // Whoever had begun to fetch without Redis has finished one poll later.
  await Promise.all(workers.map((worker) => worker.reload()))
  const [returnedAt, before] = [now(), api.calls.length]
  const version = api.edit()
  await fleet.everyone({ version })
  for (let n = 0; n < 4; n += 1) await api.nextCall(() => true)
  const calls = api.calls.slice(before)
  // One more than the time allows: the first one's interval may have begun before.
  const most = 1 + callsAtMost(now() - returnedAt, POLL_MS)
  assert.ok(calls.length <= most, `${calls.length} calls, where ${most} are allowed`)
  assert.equal(calls.filter(({ status }) => status === 200).length, 1)
  assert.ok(
    fleet.errors.every(({ message }) => message.includes('FlagCacheError')),
    'posthog-node reports what is wrong',
  )
})

/** Resolves when `n` of ours are connected. */
async function connections(redis, n) {
  const client = redis.client()
  for (const deadline = now() + 15_000; ; await sleep(20)) {
    const ours = (await client.call('CLIENT', 'LIST')).split('\n').filter((line) => line.includes('name=of-the-fleet '))
    if (ours.length >= n) return
    assert.ok(now() < deadline, `only ${ours.length} of ${n} have reconnected`)
  }
}
