// An instance of a serverless function: frozen between its requests, so that no timer runs and connections die unnoticed.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { readPage, read } from '../../dev/markdown.mjs'
import { VERSION_FLAG } from '../../dev/harness/definitions.mjs'
import { start } from '../support/child.mjs'
import { startClient, standIn } from '../support/client.mjs'
import { STORES } from '../support/stores.mjs'

const skip = process.platform === 'win32'

/** The program of docs/faq.md, with `handler()`. */
const { text: program } = readPage(read('docs/faq.md')).snippets.find(({ text }) => text.includes('export async function handler'))

function replaced(text, changes) {
  for (const [from, to] of Object.entries(changes)) {
    assert.ok(text.includes(from), from)
    text = text.replaceAll(from, to)
  }
  return text
}

/** Starts an instance: `request()` resolves with `{ version, ms }`, what the flags are and how long the handler took. */
function startInstance(t, { api, store, maxAgeMs = '60_000', ...options }) {
  const source = replaced(program, {
    "'phc_…'": JSON.stringify(api.projectKey),
    "role: 'reader'": `role: 'reader', ...${JSON.stringify({ clientName: 'instance', ...options })}`,
    '60_000': maxAgeMs,
  })
  const main = `
    import { createInterface } from 'node:readline'
    createInterface({ input: process.stdin }).on('line', async () => {
      const begin = performance.now()
      const flags = await handler({ userId: 'somebody' })
      console.log(JSON.stringify({ version: flags['${VERSION_FLAG}'], ms: performance.now() - begin }))
    })
  `
  const { child, line } = start(process.execPath, ['--input-type=module', '-e', source + main], {
    env: { REDIS_URL: store.url },
    stdin: 'pipe',
    timeoutMs: 60_000,
  })
  t.after(() => child.kill('SIGKILL'))
  const request = async () => {
    child.stdin.write('\n')
    return JSON.parse(await line())
  }
  return { child, request }
}

async function setting(t) {
  const [api, store] = [await standIn(t), await STORES.redis()]
  t.after(() => store.close())
  return { api, store, writer: () => startClient(t, { api, url: store.url }) }
}

test('an instance that was frozen has an edit at its next request, whatever became of its connection', { skip }, async (t) => {
  const { api, store, ...set } = await setting(t)
  const writer = set.writer()
  await writer.ready()
  const { child, request } = startInstance(t, { api, store, maxAgeMs: '1', commandTimeoutMs: 300 })
  assert.equal((await request()).version, api.version)

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
    assert.equal((await request()).version, version)
  }
  assert.equal(api.calls.filter(({ status }) => status === 200).length, 3, 'the instance asks PostHog for nothing')
})

test('an instance without definitions waits for them in its first request only', async (t) => {
  const { api, store, writer } = await setting(t)
  const release = api.hold()
  t.after(release)
  const asked = api.nextRequest()
  writer()
  await asked
  const { request } = startInstance(t, { api, store, coldStartWaitMs: 1_000 })
  const requests = [await request(), await request(), await request()]
  const [first, ...others] = requests.map(({ ms }) => ms)
  assert.ok(first >= 900, `${first} ms`)
  assert.ok(Math.max(...others) < 100, `${others} ms`)
  assert.deepEqual(new Set(requests.map(({ version }) => version)), new Set([undefined]))
})
