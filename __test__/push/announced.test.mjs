// An edit that its notice carries: the processes that hold the version before need not ask Redis for it.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { sleep } from '../../dev/harness/clock.mjs'
import { definitions } from '../../dev/harness/definitions.mjs'
import { elsewhere, openCache, publish, standIn } from '../support/client.mjs'
import { startSharing } from '../support/shared.mjs'
import { redisFor } from '../support/stores.mjs'

const FOLLOWERS = 4

/** How often a script has run. */
const scripts = async (client) => Number(/cmdstat_evalsha:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0)

/** Resolves when no script has run for a while: a listener looks at the store at its start, and once it is connected. */
async function quiet(client) {
  for (let before = -1, now = 0; now !== before; now = await scripts(client)) {
    before = now
    await sleep(300)
  }
}

describe('an edit', () => {
  for (const [what, flags] of Object.entries({ 'small definitions': 24, 'definitions of 500 KB': 900 })) {
    test(`of ${what} reaches every follower without a script of its own, and each listener once`, async (t) => {
      const redis = await redisFor(t)
      const client = redis.client()
      const api = await standIn(t, { flags })
      const shared = { projectKey: api.projectKey, url: redis.url }
      const publisher = openCache(t, { ...shared, ...elsewhere() })
      await publish(publisher, definitions({ version: 'v1', flags }))
      const followers = Array.from({ length: FOLLOWERS }, () => startSharing(t, { api, ...shared, ...elsewhere(), push: true }))
      const told = followers.map(() => [])
      for (const [n, { cache }] of followers.entries()) cache.onUpdate((version) => told[n].push(version))
      await Promise.all(followers.map((follower) => follower.until('v1')))
      await quiet(client)
      const versions = [publisher.status().definitions.version]

      for (const version of ['v2', 'v3', 'v4']) {
        const before = await scripts(client)
        await publisher.onFlagDefinitionsReceived(definitions({ version, flags }))
        versions.push(publisher.status().definitions.version)
        await Promise.all(followers.map((follower) => follower.until(version)))
        assert.equal((await scripts(client)) - before, 1, 'that of the publisher')
        for (const { cache } of followers) assert.equal(cache.status().definitions.version, versions.at(-1))
      }
      for (const list of told) assert.deepEqual(list.slice(-3), versions.slice(-3))
      assert.equal(api.calls.length, 0)

      // At its next poll each finds that the store says the same.
      const before = await scripts(client)
      await Promise.all(followers.map(({ load }) => load()))
      assert.equal((await scripts(client)) - before, FOLLOWERS)
      for (const { cache } of followers) assert.equal(cache.status().definitions.version, versions.at(-1))
    })
  }
})
