// A subscription that is lost comes back by itself, and catches up with what was published meanwhile.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { sleep } from '../../dev/harness/clock.mjs'
import { definitions } from '../../dev/harness/definitions.mjs'
import { startRedis } from '../../dev/harness/redis.mjs'
import { openCache, publish } from '../support/client.mjs'
import { openSharingFleet } from '../support/sharing-fleet.mjs'
import { STORES } from '../support/stores.mjs'

/** Nobody polls during a test. */
const NEVER_MS = 3_600_000

/** A process that follows, and in this one a cache that publishes: `publish('v2')` resolves when it is in the store. */
async function publisherAndFollower(t, store, options) {
  const { api, fleet } = await openSharingFleet(t, store, { push: true, pollMs: NEVER_MS, ...options })
  const publisher = openCache(t, { projectKey: api.projectKey, url: store.url, refreshIntervalMs: NEVER_MS })
  await publish(publisher, definitions({ version: 'v1' }))
  const [follower] = await fleet.start(1)
  await fleet.everyone({ version: 'v1' })
  return {
    follower,
    fleet,
    api,
    publisher,
    publish: (version) => publisher.onFlagDefinitionsReceived(definitions({ version })),
  }
}

const idsOf = async (redis, name) => {
  const list = await redis.client('LIST')
  return list
    .split('\n')
    .filter((line) => line.includes(` name=${name} `))
    .map((line) => /^id=(\d+)/.exec(line)[1])
}

describe('a process that got an update notification', () => {
  test('is called for a version that was published while its connection was killed', async (t) => {
    const store = await STORES.redis()
    t.after(() => store.close())
    const { follower, fleet, api, publish } = await publisherAndFollower(t, store, { clientName: 'follower' })
    for (const version of ['v2', 'v3']) {
      // Stopped, it cannot connect anew before the version is there; killed, nobody tells it.
      fleet.stop(follower)
      const ids = await idsOf(store.client, 'follower')
      assert.ok(ids.length > 0)
      for (const id of ids) await store.client.client('KILL', 'ID', id)
      await publish(version)
      fleet.continue(follower)
      await fleet.everyone({ version, timeoutMs: 30_000 })
    }
    // And is told of the next again.
    await publish('v4')
    await fleet.everyone({ version: 'v4', timeoutMs: 30_000 })
    assert.equal((await follower.status()).updates, 3)
    assert.equal(api.calls.length, 0)
  })

  test('is called again after every subscriber was disconnected', async (t) => {
    const store = await STORES.redis()
    t.after(() => store.close())
    const { fleet, publish } = await publisherAndFollower(t, store, { clientName: 'follower' })
    const [old] = await idsOf(store.client, 'follower')
    assert.ok((await store.client.client('KILL', 'TYPE', 'pubsub')) > 0)
    // It connects by itself, although nothing calls it.
    for (;;) {
      const [id] = await idsOf(store.client, 'follower')
      if (id !== undefined && id !== old) break
      await sleep(20)
    }
    await publish('v2')
    await fleet.everyone({ version: 'v2', timeoutMs: 30_000 })
  })

  test('is called again after its server was restarted and lost everything', async (t) => {
    const first = await startRedis()
    t.after(() => first.stop())
    const { fleet, api, publish } = await publisherAndFollower(t, first)
    await first.stop()
    const second = await startRedis({ port: first.port })
    t.after(() => second.stop())
    while (
      !(await publish('v2').then(
        () => true,
        () => false,
      ))
    )
      await sleep(50)
    await fleet.everyone({ version: 'v2', timeoutMs: 30_000 })
    await publish('v3')
    await fleet.everyone({ version: 'v3', timeoutMs: 30_000 })
    assert.equal(api.calls.length, 0)
  })

  for (const kind of ['redis', 'directory']) {
    test(`and missed ten versions over ${kind} is told of the newest`, async (t) => {
      const store = await STORES[kind]()
      t.after(() => store.close())
      const { follower, fleet, publish } = await publisherAndFollower(t, store)
      fleet.stop(follower)
      for (let n = 2; n <= 11; n += 1) await publish(`v${n}`)
      fleet.continue(follower)
      await fleet.everyone({ version: 'v11', timeoutMs: 30_000 })
      // One look may have been under way when it was stopped.
      const { updates } = await follower.status()
      assert.ok(updates <= 2, `told ${updates} times`)
    })
  }
})
