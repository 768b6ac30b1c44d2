// Every store that a test can run over, each of its own: a Redis server, a directory, or this process.

import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

import { NETWORK, startFaultProxy } from '../../dev/harness/fault-proxy.mjs'
import { startRedis } from '../../dev/harness/redis.mjs'

export { freePort as closedPort } from '../../dev/harness/redis.mjs'

/** A project of its own: no test sees what another one stored. */
export const newProjectKey = () => `phc_${randomUUID()}`

/** A directory that `t` (a test or a suite) removes at its end. */
export function temporaryDirectory(t) {
  const path = mkdtempSync(join(tmpdir(), 'flag-cache-test-'))
  t.after(() => rmSync(path, { recursive: true, force: true, maxRetries: 20 }))
  return path
}

/** A Redis server that is gone when the test ends. */
export async function redisFor(t, options) {
  const server = await startRedis(options)
  t.after(() => server.stop())
  return server
}

/**
 * How to open each kind of store: `{ url, close() }`; those outside this process also have `stored(key)`, what they hold as the
 * definitions of that project; `damage(key, bytes)`, which puts other bytes in their place of which everything but the hash fits
 * the state; `expiresInMs(key)`; and `lose()`, which empties them, whoever uses them.
 */
export const STORES = {
  async redis() {
    const server = await startRedis()
    const client = server.client()
    const dataKey = (key) => `posthog:flags:{${key}}`
    return {
      url: server.url,
      server,
      client,
      dataKey,
      stateKey: (key) => `${dataKey(key)}:state`,
      stored: async (key) => (await client.getBuffer(dataKey(key))) ?? undefined,
      async damage(key, bytes) {
        await client
          .multi()
          .set(dataKey(key), bytes)
          .hset(`${dataKey(key)}:state`, 'bytes', bytes.length)
          .exec()
      },
      expiresInMs: (key) => client.pttl(dataKey(key)),
      lose: () => client.flushall(),
      close: () => server.stop(),
    }
  },

  async directory() {
    const path = mkdtempSync(join(tmpdir(), 'flag-cache-test-'))
    const projectPath = (key) => join(path, 'posthog%3Aflags', key)
    const statePath = (key) => join(projectPath(key), 'state.json')
    const snapshotPath = (key, state = JSON.parse(readFileSync(statePath(key), 'utf8'))) =>
      state.snapshot && join(projectPath(key), `${state.snapshot.version}.json`)
    return {
      url: pathToFileURL(path).href,
      path,
      projectPath,
      statePath,
      async stored(key) {
        const file = existsSync(statePath(key)) && snapshotPath(key)
        return file && existsSync(file) ? readFileSync(file) : undefined
      },
      async damage(key, bytes) {
        const state = JSON.parse(readFileSync(statePath(key), 'utf8'))
        writeFileSync(snapshotPath(key, state), bytes)
        state.snapshot.bytes = bytes.length
        writeFileSync(statePath(key), JSON.stringify(state))
      },
      expiresInMs: async (key) => JSON.parse(readFileSync(statePath(key), 'utf8')).expires_at - Date.now(),
      async lose() {
        // At one stroke: what is emptied file by file is filled again meanwhile.
        const away = mkdtempSync(join(tmpdir(), 'flag-cache-test-'))
        for (const entry of readdirSync(path)) renameSync(join(path, entry), join(away, entry))
        rmSync(away, { recursive: true, force: true })
      },
      close: async () => rmSync(path, { recursive: true, force: true, maxRetries: 20 }),
    }
  },

  async memory() {
    return { url: 'memory:', close: async () => {} }
  },
}

/** The same as `STORES.redis()`, where the server lacks RESP3. */
export async function redisWithoutResp3() {
  const store = await STORES.redis()
  const proxy = await startFaultProxy(store.server.port)
  await proxy.break(NETWORK.resp2)
  return {
    ...store,
    url: proxy.url,
    async close() {
      await proxy.close()
      await store.close()
    },
  }
}
