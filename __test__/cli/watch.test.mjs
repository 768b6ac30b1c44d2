// watch: what it tells, when, and how it ends.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'

import { cli, environment, startCli, startCliAtTerminal, terminal } from '../support/cli.mjs'
import { standIn } from '../support/client.mjs'
import { STORES } from '../support/stores.mjs'

/** A line that tells of new definitions, not of confirmed ones. */
const NEW = /Z {2}version /

/** The next line that matches; those before it are dropped. */
async function until(line, pattern) {
  for (;;) {
    const text = await line()
    if (pattern.test(text)) return text
  }
}

for (const kind of ['redis', 'directory']) {
  describe(`watch over ${kind}`, () => {
    async function open(t) {
      const store = await STORES[kind]()
      t.after(() => store.close())
      const api = await standIn(t)
      return { store, api, env: environment({ url: store.url, api }) }
    }

    test('prints each change on a line, and exits with 0 after Ctrl-C', async (t) => {
      const { api, env } = await open(t)
      const { child, line, ended } = startCli(['watch'], { env, timeoutMs: 60_000 })
      assert.match(await line(), /^\d{4}-\d\d-\d\dT[\d:.]+Z {2}no definitions$/)
      await cli(['refresh'], { env })
      const [, first] = (await until(line, NEW)).match(/version ([0-9a-f]{64}): 24 flags, 2 cohorts, 11\.\d KiB$/)
      api.edit()
      await cli(['refresh'], { env })
      await until(line, /invalidated/)
      await until(line, /grant 2 given/)
      assert.ok(!(await until(line, NEW)).includes(first))
      await cli(['purge', '--yes'], { env })
      await until(line, /no definitions$/)
      child.kill('SIGINT')
      const { code, signal, stderr } = await ended
      assert.deepEqual([code, signal, stderr], [0, null, ''])
    })

    test('with --json each line is an object like that of status', async (t) => {
      const { env, api } = await open(t)
      const { child, line, ended } = startCli(['watch', '--json'], { env, timeoutMs: 60_000 })
      assert.equal(JSON.parse(await line()).definitions, null)
      await cli(['refresh'], { env })
      let status = JSON.parse(await line())
      while (!status.definitions) status = JSON.parse(await line())
      assert.deepEqual(Object.keys(status), Object.keys(JSON.parse((await cli(['status', '--json'], { env })).stdout)))
      assert.equal(status.definitions.etag, api.etag)
      child.kill('SIGTERM')
      assert.equal((await ended).code, 0)
    })

    test('ends when its reader does', async (t) => {
      const { env } = await open(t)
      const { child, line, ended } = startCli(['watch'], { env, timeoutMs: 60_000 })
      await line()
      child.stdout.destroy()
      await cli(['refresh'], { env })
      const { code, stderr } = await ended
      assert.deepEqual([code, stderr], [0, ''])
    })
  })
}

test('on a terminal the table is redrawn in place, and the cursor returns', terminal, async (t) => {
  const store = await STORES.redis()
  t.after(() => store.close())
  const api = await standIn(t)
  const env = environment({ url: store.url, api })
  const { child, ended } = startCliAtTerminal(['watch'], { env, timeoutMs: 60_000 })
  let shown = ''
  const saw = (pattern) =>
    new Promise((resolve) => {
      const look = (text) => {
        shown += text ?? ''
        if (pattern.test(shown)) resolve()
      }
      look()
      child.stdout.on('data', look)
    })
  await saw(/round trip/)
  await cli(['refresh'], { env })
  await saw(/24 flags, 2 cohorts/)
  child.stdin.write('\x03')
  const { code } = await ended
  assert.equal(code, 0)
  assert.match(shown, /\x1b\[\?25l.*\x1b\[\d+A\r.*\x1b\[\?25h/s)
})

test('on a terminal with fewer rows than the table nothing scrolls, and an outage is visible', terminal, async (t) => {
  const store = await STORES.redis()
  t.after(() => store.close())
  const api = await standIn(t)
  const env = environment({ url: store.url, api })
  const { child, ended } = startCliAtTerminal(['watch', '--command-timeout-ms', '200'], { env, rows: 6, timeoutMs: 60_000 })
  let shown = ''
  const saw = async (pattern) => {
    while (!pattern.test(shown)) shown += (await once(child.stdout, 'data'))[0]
  }
  await saw(/definitions .*\x1b\[\d+A/s)
  store.server.pause()
  await saw(/did not answer/)
  store.server.resume()
  child.stdin.write('\x03')
  assert.equal((await ended).code, 0)
  const drawings = shown.split(/(?=\x1b\[\d+A\r)/)
  for (const drawing of drawings) {
    assert.ok(drawing.split('\n').length <= 6, drawing)
    const [, up = 0] = /^\x1b\[(\d+)A/.exec(drawing) ?? []
    assert.ok(up < 6, drawing)
  }
})

test('an outage is shown once, and survived', async (t) => {
  const store = await STORES.redis()
  t.after(() => store.close())
  const api = await standIn(t)
  const { child, line, ended } = startCli(['watch', '--command-timeout-ms', '200'], {
    env: environment({ url: store.url, api }),
    timeoutMs: 60_000,
  })
  await line()
  store.server.pause()
  assert.match(await line(), /cannot be read: \[ERR_FLAG_CACHE_TIMEOUT\]/)
  store.server.resume()
  await until(line, /can be read again$/)
  child.kill('SIGINT')
  assert.equal((await ended).code, 0)
})

test('it exits with 1 if the store cannot be read at the beginning', async () => {
  const { code, stdout, stderr } = await cli(['watch'], { env: environment({ url: 'redis://127.0.0.1:1', projectKey: 'phc_x' }) })
  assert.deepEqual([code, stdout], [1, ''])
  assert.match(stderr, /^error \[ERR_FLAG_CACHE_UNAVAILABLE\]/)
})
