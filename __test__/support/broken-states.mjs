// Stores as no process of ours leaves them: foreign programs, restored backups and bad disks do.

import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'

const NUMBERS = ['revision', 'fence', 'expires_at', 'granted_at', 'published_at', 'confirmed_at', 'retry_at']

const setNumbers =
  (value) =>
  ({ client, stateKey }, key) =>
    client.hset(stateKey(key), Object.fromEntries(NUMBERS.map((name) => [name, value])))

const writeState =
  (text) =>
  async ({ statePath }, key) =>
    writeFileSync(statePath(key), text)

/** Changes the state; a damage that came before may have left none. */
const changeState =
  (change) =>
  async ({ statePath }, key) => {
    const state = JSON.parse(readFileSync(statePath(key), 'utf8'))
    change(state)
    writeFileSync(statePath(key), JSON.stringify(state))
  }

const snapshotFile = ({ statePath, projectPath }, key) =>
  `${projectPath(key)}/${JSON.parse(readFileSync(statePath(key), 'utf8')).snapshot.version}.json`

/** What became of the store: `(store, projectKey) => Promise`. */
export const BROKEN_STATES = {
  redis: {
    'they are gone': ({ client, dataKey }, key) => client.del(dataKey(key)),
    'they were truncated': ({ client, dataKey }, key) => client.set(dataKey(key), '{"flags":['),
    'another SDK wrote others': ({ client, dataKey }, key) => client.set(dataKey(key), '{"flags":[],"cohorts":{}}'),
    'their key is a list': ({ client, dataKey }, key) => client.multi().del(dataKey(key)).rpush(dataKey(key), 'x').exec(),
    'their state is gone': ({ client, stateKey }, key) => client.del(stateKey(key)),
    'their state is a string': ({ client, stateKey }, key) => client.set(stateKey(key), 'x'),
    'their state is empty but for a foreign field': ({ client, stateKey }, key) =>
      client.multi().del(stateKey(key)).hset(stateKey(key), 'hello', 'world').exec(),
    'the numbers of their state are words': setNumbers('x'),
    'the numbers of their state are negative': setNumbers('-1'),
    'the numbers of their state are empty': setNumbers(''),
    'the numbers of their state are as large as can be': setNumbers('18446744073709551615'),
    'the numbers of their state are larger than can be': setNumbers('9'.repeat(400)),
    'their lease lasts for ever': ({ client, stateKey }, key) =>
      client.hset(stateKey(key), { owner: 'nobody:1:0', expires_at: '18446744073709551615' }),
    'their pause lasts for ever': ({ client, stateKey }, key) => client.hset(stateKey(key), { retry_at: '18446744073709551615' }),
    'their ETag has a line break': ({ client, stateKey }, key) => client.hset(stateKey(key), { etag: '"a"\r\nx: y' }),
    'their ETag is as long as a book': ({ client, stateKey }, key) => client.hset(stateKey(key), { etag: `"${'a'.repeat(65_536)}"` }),
    'more fetches have failed than can be': ({ client, stateKey }, key) =>
      client.hset(stateKey(key), { failures: '18446744073709551615', refused_at: '18446744073709551615' }),
    'their state holds bytes that are no text': ({ client, stateKey }, key) =>
      client.hset(stateKey(key), 'version', Buffer.from([0xff, 0xfe, 0x00])),
  },
  directory: {
    'they are gone': async (store, key) => rmSync(snapshotFile(store, key)),
    'they were truncated': async (store, key) => truncateSync(snapshotFile(store, key), 100),
    'all of it is gone': async ({ projectPath }, key) => rmSync(projectPath(key), { recursive: true }),
    'their state is gone': async ({ statePath }, key) => rmSync(statePath(key)),
    'their state is empty': writeState(''),
    'their state is not JSON': writeState('{"revision":'),
    'their state is null': writeState('null'),
    'their state is an array': writeState('[1,2,3]'),
    'their state is binary': writeState(Buffer.from([0xff, 0x00, 0xfe])),
    'the numbers of their state are words': changeState((state) => Object.assign(state, { revision: 'x', fence: 'x' })),
    'the numbers of their state are negative': changeState((state) => Object.assign(state, { revision: -1, granted_at: -1 })),
    'the numbers of their state are as large as can be': changeState((state) => {
      const most = 2 ** 63
      Object.assign(state, { revision: most, fence: most, granted_at: most, confirmed_at: most, expires_at: most })
      Object.assign(state.snapshot, { published_at: most })
    }),
    'their state leads out of the directory': changeState((state) => {
      state.snapshot.version = '../../../../../../etc/passwd'
    }),
  },
}
