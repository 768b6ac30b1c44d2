// Python without a relay: the provider of examples/reader.py reads what a fleet of Node.js processes shares.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { PostHog } from 'posthog-node'

import { VERSION_FLAG } from '../../dev/harness/definitions.mjs'
import { pythonPackages } from '../../scripts/python-packages.mjs'
import { FlagDefinitionCache, standIn, versionOf } from '../support/client.mjs'
import { redisFor } from '../support/stores.mjs'

test('posthog-python evaluates what Node.js has published, with flagCache.fetch and without it', { timeout: 120_000 }, async (t) => {
  const PYTHONPATH = pythonPackages('sdks', ['--platform', 'any'])
  const [api, redis] = [await standIn(t), await redisFor(t)]
  const env = { ...process.env, PYTHONPATH, POSTHOG_PROJECT_KEY: api.projectKey, REDIS_URL: redis.url }
  const evaluate = async () => {
    const child = spawn('python3', [fileURLToPath(new URL('../../examples/reader.py', import.meta.url)), 'ada'], { env })
    const [output, errors] = [[], []]
    child.stdout.on('data', (data) => output.push(data))
    child.stderr.on('data', (data) => errors.push(data))
    const [code] = await once(child, 'close')
    assert.equal(code, 0, Buffer.concat(errors).toString())
    return JSON.parse(Buffer.concat(output))
  }
  for (const isWithFetch of [false, true]) {
    // Each publishes in its own way: as posthog-node hands the definitions over, or as PostHog sent them.
    const cache = new FlagDefinitionCache({ projectKey: api.projectKey, url: redis.url, compression: 'none' })
    const wired = isWithFetch ? cache.clientOptions : { flagDefinitionCacheProvider: cache }
    const client = new PostHog(api.projectKey, { host: api.url, secretKey: api.secretKey, ...wired })
    await client.waitForLocalEvaluationReady(10_000)
    const version = api.edit()
    while ((await versionOf(client)) !== version) {
      await cache.invalidate()
      await client.reloadFeatureFlags()
    }
    const calls = api.calls.length
    assert.equal((await evaluate())[VERSION_FLAG], version)
    assert.equal(api.calls.length, calls, 'Python asks PostHog for nothing')
    await client.shutdown()
  }
})
