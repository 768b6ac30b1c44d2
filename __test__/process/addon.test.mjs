// What the addon does to the process that loads it: nothing that keeps it alive, nothing that brings it down.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { runNode, startNode } from '../support/child.mjs'
import { standIn } from '../support/client.mjs'
import { closedPort, newProjectKey, STORES } from '../support/stores.mjs'

const HEAD = `
  const { FlagDefinitionCache } = require('posthog-flag-cache')
  const cacheOf = (options) => new FlagDefinitionCache({ ...JSON.parse(process.env.OPTIONS), ...options })
  const use = async (cache) => {
    if (await cache.shouldFetchFlagDefinitions()) await cache.onFlagDefinitionsReceived({ flags: [{ key: 'here' }] })
    const found = await cache.getFlagDefinitions()
    if (found.flags[0].key !== 'here') throw new Error('not what was published')
  }
`

/** Terminates three dozen workers, each in the middle of calls. */
const WORKERS = `
  const { Worker } = require('node:worker_threads')
  const { once } = require('node:events')
  const inWorker = process.env.HEAD + \`
    for (let n = 0; n < 10; n += 1) {
      const cache = cacheOf()
      use(cache).catch(() => {}).then(() => cache.getFlagDefinitions()).catch(() => {})
    }
    require('node:worker_threads').parentPort.postMessage('called')
    setInterval(() => {}, 1000)
  \`
  const round = (size) => Promise.all(Array.from({ length: size }, async (_, n) => {
    const worker = new Worker(inWorker, { eval: true })
    worker.on('error', (error) => { throw error })
    await once(worker, 'message')
    await new Promise((resolve) => setTimeout(resolve, n))
    await worker.terminate()
  }))
  const main = async () => {
    // The addon's runtime ends with the last environment that uses it: with these workers, each time.
    for (let n = 0; n < 4; n += 1) await round(3)
    // From here on the main thread is one that does.
    new Function('require', process.env.HEAD + 'Object.assign(globalThis, { use, cacheOf })')(require)
    const project = (n) => ({ projectKey: 'phc_main_' + process.pid + '_' + n })
    const kept = cacheOf(project(1))
    await use(kept)
    for (let n = 0; n < 4; n += 1) await round(6)
    await use(kept)
    await use(cacheOf(project(2)))
    console.log('works')
  }
  main()
`

const env = (url, options) => ({ OPTIONS: JSON.stringify({ projectKey: newProjectKey(), url, ...options }) })

/** It ends by itself, in good order; a process that does not is an error of `runNode`. */
async function assertEnds(source, options) {
  const { code, signal, stdout, stderr } = await runNode(HEAD + source, options)
  assert.deepEqual([code, signal], [0, null], stderr)
  return stdout
}

for (const kind of Object.keys(STORES)) {
  describe(`a process with a cache over ${kind}`, () => {
    let store
    before(async () => (store = await STORES[kind]()))
    after(() => store.close())

    test('that never calls shutdown() ends when its work is done', async () => {
      const stdout = await assertEnds("use(cacheOf()).then(() => console.log('done'))", { env: env(store.url) })
      assert.equal(stdout, 'done\n')
    })

    test('that makes many calls at once, some of which fail, gets each result, and ends', async () => {
      const main = async () => {
        const cache = cacheOf()
        await use(cache)
        for (let burst = 0; burst < 3; burst += 1) {
          const calls = Array.from({ length: 20 }, (_, n) => (n % 2 ? cache.onFlagDefinitionsReceived({ flags: n }) : use(cache)))
          const outcomes = await Promise.allSettled(calls)
          console.log(outcomes.map(({ reason }) => reason?.code ?? 'ok').join())
        }
      }
      const burst = `${Array(10).fill('ok,ERR_FLAG_CACHE_DATA').join()}\n`
      assert.equal(await assertEnds(`(${main})()`, { env: env(store.url) }), burst.repeat(3))
    })

    test("that waited for another process's fetch ends as well", async () => {
      // The wait starts whatever watches the store.
      const source = `
        cacheOf().shouldFetchFlagDefinitions()
          .then(() => cacheOf({ coldStartWaitMs: 50 }).shouldFetchFlagDefinitions())
          .then((granted) => console.log(granted))
      `
      assert.equal(await assertEnds(source, { env: env(store.url) }), 'false\n')
    })

    test('that lets posthog-node poll ends when polling is stopped', async (t) => {
      const api = await standIn(t)
      const source = `
        const { PostHog } = require('posthog-node')
        const client = new PostHog('${api.projectKey}', {
          host: '${api.url}', secretKey: '${api.secretKey}', featureFlagsPollingInterval: 100,
          flagDefinitionCacheProvider: cacheOf({ projectKey: '${api.projectKey}' }),
        })
        let loads = 0
        client.on('localEvaluationFlagsLoaded', () => {
          if (++loads === 3) client.shutdown().then(() => console.log('stopped'))
        })
      `
      assert.equal(await assertEnds(source, { env: env(store.url) }), 'stopped\n')
      assert.equal(api.calls.length, 1)
    })

    test('may call process.exit() during calls', async () => {
      const source = `
        const caches = Array.from({ length: 20 }, () => cacheOf({ coldStartWaitMs: 10_000 }))
        for (const cache of caches) use(cache).catch(() => {}).then(() => cache.shutdown())
        const exit = () => process.exit(7)
        const after = Number(process.env.AFTER_MS)
        if (after < 0) exit()
        else setTimeout(exit, after)
      `
      for (const afterMs of [-1, 0, 2, 10]) {
        const { code, signal, stderr } = await runNode(HEAD + source, { env: { ...env(store.url), AFTER_MS: String(afterMs) } })
        assert.deepEqual([code, signal, stderr], [7, null, ''], `${afterMs} ms after its calls`)
      }
    })

    test('ends after an uncaught exception during calls, like any process', async () => {
      const source = `
        for (let n = 0; n < 20; n += 1) use(cacheOf()).catch(() => {})
        setTimeout(() => { throw new Error('mine') }, 1)
      `
      const { code, signal, stderr } = await runNode(HEAD + source, { env: env(store.url) })
      assert.deepEqual([code, signal], [1, null])
      assert.match(stderr, /Error: mine/)
    })

    test('ends after a signal, like any process', async () => {
      for (const name of ['SIGTERM', 'SIGINT']) {
        const source = `
          const cache = cacheOf()
          use(cache).then(() => {
            console.log('used')
            setInterval(() => use(cache), 1)
          })
        `
        const { child, line, ended } = startNode(HEAD + source, { env: env(store.url) })
        assert.equal(await line(), 'used')
        child.kill(name)
        const { code, signal } = await ended
        assert.deepEqual([code, signal], [null, name])
      }
    })

    test('survives workers that are terminated during calls, and uses the cache afterwards', async () => {
      const { code, signal, stdout, stderr } = await runNode(WORKERS, {
        env: { ...env(store.url, { coldStartWaitMs: 10_000 }), HEAD },
        timeoutMs: 60_000,
      })
      assert.deepEqual([code, signal, stdout], [0, null, 'works\n'], stderr)
    })
  })
}

describe('a process without its Redis', () => {
  test('ends while the connection is being tried again and again', async () => {
    const url = `redis://127.0.0.1:${await closedPort()}`
    const stdout = await assertEnds('use(cacheOf()).catch((error) => console.log(error.code))', { env: env(url) })
    assert.equal(stdout, 'ERR_FLAG_CACHE_UNAVAILABLE\n')
  })

  test('ends after the server went away', async () => {
    const store = await STORES.redis()
    const source = `
      const cache = cacheOf()
      use(cache).then(() => console.log('used'))
      process.once('SIGUSR2', () => use(cache).then(() => console.log(cache.status().counters.errors)))
      const waiting = setInterval(() => {}, 1000)
      process.once('SIGUSR2', () => clearInterval(waiting))
    `
    const { child, line, ended } = startNode(HEAD + source, { env: env(store.url) })
    try {
      assert.equal(await line(), 'used')
    } finally {
      await store.close()
    }
    child.kill('SIGUSR2')
    assert.equal(await line(), '{ ERR_FLAG_CACHE_UNAVAILABLE: 1 }')
    const { code, signal, stderr } = await ended
    assert.deepEqual([code, signal], [0, null], stderr)
  })

  test('ends while the server hangs', async (t) => {
    const store = await STORES.redis()
    t.after(() => store.close())
    store.server.pause()
    const options = { connectTimeoutMs: 100, commandTimeoutMs: 100 }
    const stdout = await assertEnds('use(cacheOf()).catch((error) => console.log(error.code))', { env: env(store.url, options) })
    assert.equal(stdout, 'ERR_FLAG_CACHE_TIMEOUT\n')
  })
})
