// `flagCache.fetch` under each version of posthog-node that this package is tested with.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { sleep } from '../../dev/harness/clock.mjs'
import { VERSION_FLAG } from '../../dev/harness/definitions.mjs'
import { openCache, standIn } from '../support/client.mjs'
import { completed } from '../support/shared.mjs'
import { STORES } from '../support/stores.mjs'

let store
before(async () => (store = await STORES.redis()))
after(() => store.close())

for (const name of ['posthog-node', 'posthog-node-5.50.0', 'posthog-node-5.45.0', 'posthog-node-5.34.2', 'posthog-node-5.14.0']) {
  test(`a client of ${name} shares the ETag, and follows v1, v2, back to v1`, async (t) => {
    const { PostHog } = await import(name)
    const api = await standIn(t)
    const options = { projectKey: api.projectKey, url: store.url, refreshIntervalMs: 100 }
    const start = () => {
      const cache = openCache(t, options)
      const client = new PostHog(api.projectKey, {
        host: api.url,
        secretKey: api.secretKey,
        personalApiKey: api.secretKey,
        featureFlagsPollingInterval: 3_600_000,
        flagDefinitionCacheProvider: cache,
        fetch: cache.fetch,
      })
      // The timer of older versions would outlive the test.
      t.after(() => client.shutdown(1_000))
      const evaluate = async () =>
        (await client.getAllFlags('somebody', { onlyEvaluateLocally: true, flagKeys: [VERSION_FLAG] }))[VERSION_FLAG]
      /** Loads until it was its turn. */
      const fetch = async () => {
        const { grants } = cache.status().counters
        do {
          await sleep(options.refreshIntervalMs)
          await client.reloadFeatureFlags()
        } while (cache.status().counters.grants === grants)
        return evaluate()
      }
      return { cache, client, evaluate, fetch, load: () => client.reloadFeatureFlags() }
    }
    const first = start()
    await first.load()
    const second = start()
    await second.load()
    assert.deepEqual([await first.evaluate(), await second.evaluate()], ['v1', 'v1'])
    api.edit()
    assert.equal(await second.fetch(), 'v2')
    api.rollback(1)
    assert.equal(await first.fetch(), 'v1')
    assert.equal(await second.fetch(), 'v1')
    await second.fetch()
    assert.deepEqual(
      api.calls.filter(({ status }) => status === 200).map(({ version }) => version),
      ['v1', 'v2', 'v1'],
    )
    assert.deepEqual(await openCache(t, { ...options, role: 'reader' }).getFlagDefinitions(), completed(api.text))
    assert.equal(first.cache.status().definitions.etag, api.etag)
  })
}
