// What the caches of one process have in common, those in its worker threads too.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { runNode, startNode } from '../support/child.mjs'
import { newProjectKey, STORES } from '../support/stores.mjs'

const HEAD = `
  const { once } = require('node:events')
  const { Worker } = require('node:worker_threads')
  const { FlagDefinitionCache } = require('posthog-flag-cache')
  const options = JSON.parse(process.env.OPTIONS)

  /** A worker thread that runs \`source\`, and stays: it resolves with what that returns. */
  async function inWorker(source) {
    const worker = new Worker(\`
      const { FlagDefinitionCache } = require('posthog-flag-cache')
      const options = JSON.parse(process.env.OPTIONS)
      setInterval(() => {}, 60_000)
      const run = async () => {\${source}}
      run().then((said) => require('node:worker_threads').parentPort.postMessage(said))
    \`, { eval: true })
    worker.on('error', (error) => { throw error })
    const exited = once(worker, 'exit')
    const [said] = await once(worker, 'message')
    return { worker, said, exited }
  }
`

const environment = (url) => ({ OPTIONS: JSON.stringify({ projectKey: newProjectKey(), url, clientName: 'flag-cache-test' }) })

test('one connection serves all of them', async (t) => {
  const store = await STORES.redis()
  t.after(() => store.close())
  const source = `
    async function main() {
      const caches = [1, 2, 3].map(() => new FlagDefinitionCache(options))
      await caches[0].shouldFetchFlagDefinitions()
      await caches[0].onFlagDefinitionsReceived({ flags: [{ key: 'shared' }] })
      for (const cache of caches) await cache.getFlagDefinitions()
      const read = 'return (await new FlagDefinitionCache(options).getFlagDefinitions()).flags[0].key'
      for (let n = 0; n < 3; n += 1) console.log((await inWorker(read)).said)
      process.on('SIGUSR2', () => process.exit())
      console.log('ready')
    }
    main()
  `
  const { child, line, ended } = startNode(HEAD + source, { env: environment(store.url) })
  for (const expected of ['shared', 'shared', 'shared', 'ready']) assert.equal(await line(), expected)
  const clients = await store.client.client('LIST')
  assert.equal(clients.match(/name=flag-cache-test/g).length, 1, clients)
  child.kill('SIGUSR2')
  assert.equal((await ended).code, 0)
})

test('two threads serve all of them, though worker threads come and go', { skip: process.platform !== 'linux' }, async () => {
  const source = `
    const { readdirSync, readFileSync } = require('node:fs')
    const threads = () => readdirSync('/proc/self/task')
      .filter((id) => 'posthog-flag-cache'.startsWith(readFileSync('/proc/self/task/' + id + '/comm', 'utf8').trim())).length
    async function main() {
      const counts = []
      for (let n = 0; n < 3; n += 1) {
        const { worker } = await inWorker('return new FlagDefinitionCache(options).shouldFetchFlagDefinitions()')
        await worker.terminate()
        // A thread names itself a moment after it has begun.
        while (threads() < 2) await new Promise(setImmediate)
        counts.push(threads())
      }
      console.log(JSON.stringify(counts))
    }
    main()
  `
  const { code, stdout, stderr } = await runNode(HEAD.replace('const { FlagDefinitionCache }', 'const {}') + source, {
    env: environment('memory:'),
  })
  assert.deepEqual([code, stdout], [0, '[2,2,2]\n'], stderr)
})

for (const kind of ['redis', 'directory']) {
  test(`200 worker threads over ${kind}, terminated or left during calls, crash nothing`, async (t) => {
    const store = await STORES[kind]()
    t.after(() => store.close())
    const source = `
      const inCalls = \`
        for (let n = 0; n < 5; n += 1) {
          const cache = new FlagDefinitionCache(options)
          const use = async () => {
            await cache.shouldFetchFlagDefinitions()
            return cache.getFlagDefinitions()
          }
          use().catch(() => {}).then(use).catch(() => {})
        }
      \`
      async function main() {
        const { worker } = await inWorker(\`
          const cache = new FlagDefinitionCache(options)
          await cache.shouldFetchFlagDefinitions()
          await cache.onFlagDefinitionsReceived({ flags: [{ key: 'here' }] })
        \`)
        await worker.terminate()
        for (let n = 0; n < 200; n += 10) {
          await Promise.all(Array.from({ length: 10 }, async (_, n) => {
            const leaves = n % 2 === 1
            const { worker, exited } = await inWorker(inCalls + (leaves ? 'setTimeout(() => process.exit(), ' + n + ')' : ''))
            if (!leaves) setTimeout(() => worker.terminate(), n)
            await exited
          }))
        }
        const cache = new FlagDefinitionCache(options)
        console.log((await cache.getFlagDefinitions()).flags[0].key)
      }
      main()
    `
    const { code, signal, stdout, stderr } = await runNode(HEAD + source, { env: environment(store.url), timeoutMs: 120_000 })
    assert.deepEqual([code, signal, stdout], [0, null, 'here\n'], stderr)
  })
}
