// An instance of a serverless function: frozen between its requests, so that no timer runs and connections die unnoticed.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { VERSION_FLAG } from '../../dev/harness/definitions.mjs'
import { startNode } from '../support/child.mjs'
import { startClient, standIn } from '../support/client.mjs'
import { STORES } from '../support/stores.mjs'

/** The handler of docs/faq.md. A line on standard input is a request; the answer is the version of the flags, and how long it took. */
const INSTANCE = `
  const { createInterface } = require('node:readline')
  const { FlagDefinitionCache } = require('posthog-flag-cache')
  const { PostHog } = require('posthog-node')
  const { options, flag } = JSON.parse(process.env.CONFIG)
  const flagCache = new FlagDefinitionCache({ ...options, role: 'reader' })
  const posthog = new PostHog(options.projectKey, { flagDefinitionCacheProvider: flagCache })
  posthog.on('error', (error) => console.log('error ' + error))

  async function handler() {
    await flagCache.ensureFresh(posthog, 1)
    return (await posthog.getAllFlags('somebody', { onlyEvaluateLocally: true, flagKeys: [flag] }))[flag]
  }
  createInterface({ input: process.stdin }).on('line', async () => console.log(await handler()))
`

test('an instance that was frozen gets an edit at its next request, whatever happened to its connection', {
  skip: process.platform === 'win32',
}, async (t) => {
  const [api, store] = [await standIn(t), await STORES.redis()]
  t.after(() => store.close())
  const writer = startClient(t, { api, url: store.url })
  await writer.ready()
  const options = { projectKey: api.projectKey, url: store.url, clientName: 'instance', commandTimeoutMs: 300 }
  const { child, line } = startNode(INSTANCE, {
    env: { CONFIG: JSON.stringify({ options, flag: VERSION_FLAG }) },
    stdin: 'pipe',
    timeoutMs: 60_000,
  })
  t.after(() => child.kill('SIGKILL'))
  const request = () => {
    child.stdin.write('\n')
    return line()
  }
  assert.equal(await request(), api.version)

  const kill = async () => {
    const clients = (await store.client.client('LIST')).split('\n').filter((client) => client.includes(' name=instance '))
    for (const client of clients) await store.client.call('CLIENT', 'KILL', 'ID', /id=(\d+)/.exec(client)[1])
    assert.equal(clients.length, 1)
  }
  for (const happens of [async () => {}, kill]) {
    child.kill('SIGSTOP')
    await happens()
    const version = api.edit()
    while ((await writer.evaluate()) !== version) await writer.load().then(() => writer.cache.invalidate())
    child.kill('SIGCONT')
    assert.equal(await request(), version)
  }
  assert.equal(api.calls.filter(({ status }) => status === 200).length, 3, 'the instance asks PostHog for nothing')
})
