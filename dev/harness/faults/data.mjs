// What other programs, operators and memory limits do to what the fleet stores.

import { setTimeout as sleep } from 'node:timers/promises'

import { NOBODY } from './codes.mjs'

const AGAIN_MS = 50

/** So many that they are compressed, and that an edit leaves a patch. */
const LARGE = { flags: 400 }

/** Does `damage` again and again. */
const again = (id, name, damage) => ({
  id,
  name,
  begin(lab) {
    lab.damaging = (async () => {
      while (!lab.enough) {
        await damage(lab)
        await sleep(AGAIN_MS)
      }
    })()
  },
  async end(lab) {
    lab.enough = true
    await lab.damaging
  },
  tells: NOBODY,
  // With the state the turn is gone before its publish: what it fetched is fetched again.
  forgets: true,
  ...LARGE,
})

const once = (id, name, begin) => ({ id, name, begin, lastsMs: 0, tells: NOBODY, ...LARGE })

export const DATA_FAULTS = [
  once('definitions-deleted', 'the definitions are deleted', ({ admin, keys }) => admin.del(keys.data)),
  once('state-deleted', 'the state is deleted', ({ admin, keys }) => admin.del(keys.state)),
  once('patch-deleted', 'the patch is deleted', ({ admin, keys }) => admin.hdel(keys.state, 'patch')),
  once('flushall', 'FLUSHALL empties Redis', ({ admin }) => admin.flushall()),
  once('evicted', 'Redis evicts the keys', async ({ admin }) => {
    await admin.config('SET', 'maxmemory-policy', 'allkeys-random', 'maxmemory', '1')
    while ((await admin.dbsize()) > 0) await sleep(1)
    await admin.config('SET', 'maxmemory', '0')
  }),
  once('definitions-wrongtype', 'the definitions become a list', ({ admin, keys }) =>
    admin.multi().del(keys.data).rpush(keys.data, 'x').exec(),
  ),
  once('state-wrongtype', 'the state becomes a string', ({ admin, keys }) => admin.set(keys.state, 'x')),
  once('patch-damaged', 'the patch is corrupt', ({ admin, keys }) => admin.hset(keys.state, 'patch', 'PATCH2:')),
  again('deleted-again', 'every 50 ms the next key is deleted, in turn', ({ admin, keys }) => {
    const names = Object.values(keys)
    return admin.del(names[Math.floor(Date.now() / AGAIN_MS) % names.length])
  }),
]
