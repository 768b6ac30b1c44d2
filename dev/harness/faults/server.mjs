// What a Redis server does when it restarts, hangs, fails over, or is configured anew.

import { mkdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { freePort } from '../redis.mjs'
import { LOST, NOBODY, REFUSED } from './codes.mjs'

/** How long those faults last that end by themselves, unless they are told. */
const HANG_MS = 1_500

const killClients = async ({ admin }) => {
  for (const type of ['normal', 'pubsub']) await admin.call('CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes')
}

const config =
  (...settings) =>
  ({ admin }) =>
    admin.config('SET', ...settings)

/** A replica whose master is not there. */
const demote =
  (staleData) =>
  async ({ admin }) => {
    await admin.config('SET', 'replica-serve-stale-data', staleData)
    await admin.call('REPLICAOF', '127.0.0.1', String(await freePort()))
  }

const promote = ({ admin }) => admin.call('REPLICAOF', 'NO', 'ONE')

export const SERVER_FAULTS = [
  {
    id: 'restart',
    name: 'it is killed and comes back empty',
    begin: (lab) => lab.stopRedis(),
    end: (lab) => lab.startRedis(),
    tells: LOST,
    alone: true,
    reconnects: true,
  },
  {
    id: 'hang',
    name: 'it hangs',
    begin: ({ redis }) => redis.pause(),
    end: ({ redis }) => redis.resume(),
    tells: LOST,
    alone: true,
    reconnects: true,
  },
  {
    id: 'client-pause',
    name: 'CLIENT PAUSE holds every command',
    begin: ({ admin }, lastsMs = HANG_MS) => admin.call('CLIENT', 'PAUSE', lastsMs, 'ALL'),
    end: ({ admin }) => admin.ping(),
    tells: LOST,
    alone: true,
    reconnects: true,
  },
  {
    id: 'debug-sleep',
    name: 'one command blocks the server',
    begin(lab, lastsMs = HANG_MS) {
      lab.sleeping = lab.client().call('DEBUG', 'SLEEP', lastsMs / 1_000)
    },
    end: ({ sleeping }) => sleeping,
    tells: LOST,
    alone: true,
    reconnects: true,
  },
  {
    id: 'busy',
    name: 'a script does not end (BUSY)',
    async begin({ admin, client }) {
      await admin.config('SET', 'busy-reply-threshold', '50')
      client()
        .eval('while true do end', 0)
        .catch(() => {})
      while (!(await admin.get('x').catch(({ message }) => message.startsWith('BUSY')))) await sleep(10)
    },
    end: ({ admin }) => admin.call('SCRIPT', 'KILL'),
    tells: LOST,
    alone: true,
    reconnects: true,
  },
  {
    id: 'loading',
    name: 'it is loading its data for a while (LOADING)',
    async begin(lab, lastsMs = HANG_MS) {
      const { admin } = lab
      // Each takes a millisecond.
      await admin.call('DEBUG', 'POPULATE', lastsMs)
      await admin.config('SET', 'key-load-delay', '1000', 'loading-process-events-interval-bytes', '1024')
      lab.loading = lab.client().call('DEBUG', 'RELOAD')
    },
    end: ({ loading }) => loading,
    tells: LOST,
    alone: true,
    reconnects: true,
  },
  { id: 'client-kill', name: 'CLIENT KILL ends the connections', begin: killClients, lastsMs: 0, tells: NOBODY },
  { id: 'script-flush', name: 'SCRIPT FLUSH deletes the scripts', begin: ({ admin }) => admin.script('FLUSH'), lastsMs: 0, tells: NOBODY },
  {
    id: 'requirepass',
    name: 'a password is set and removed again',
    async begin(lab) {
      await lab.admin.config('SET', 'requirepass', 'another')
      await killClients(lab)
    },
    end: config('requirepass', ''),
    tells: REFUSED,
    alone: true,
    reconnects: true,
  },
  {
    id: 'noperm',
    name: 'the user loses a permission and gets it back (NOPERM)',
    asUser: true,
    begin: ({ admin }) => admin.call('ACL', 'SETUSER', 'worker', '-@scripting'),
    end: ({ admin }) => admin.call('ACL', 'SETUSER', 'worker', '+@scripting'),
    tells: REFUSED,
    alone: true,
  },
  {
    id: 'user-deleted',
    name: 'the user is deleted and created again',
    asUser: true,
    begin: ({ admin }) => admin.call('ACL', 'DELUSER', 'worker'),
    end: ({ admin }) => admin.call('ACL', 'SETUSER', 'worker', 'on', '>s3cret', '~*', '&*', '+@all'),
    tells: REFUSED,
    alone: true,
    reconnects: true,
  },
  {
    id: 'readonly',
    name: 'it becomes a replica and then a primary again (READONLY)',
    begin: demote('yes'),
    end: promote,
    tells: ['ERR_FLAG_CACHE_READONLY'],
    alone: true,
    reconnects: true,
  },
  {
    id: 'masterdown',
    name: 'it becomes a replica that rejects commands, and then a primary again (MASTERDOWN)',
    begin: demote('no'),
    end: promote,
    tells: LOST,
    alone: true,
    reconnects: true,
  },
  {
    id: 'oom',
    name: 'its memory is full (OOM, noeviction)',
    begin: config('maxmemory-policy', 'noeviction', 'maxmemory', '1'),
    end: config('maxmemory', '0'),
    // Longer, and each leader in turn would fetch the edit.
    lastsMs: 1_500,
    tells: LOST,
    alone: true,
    // The state replaces itself, and needs no more memory.
    grants: true,
  },
  {
    id: 'misconf',
    name: 'it cannot save its data (MISCONF)',
    async begin(lab) {
      const { admin } = lab
      const [, directory] = await admin.config('GET', 'dir')
      // What it saves is renamed to this in the end.
      lab.obstacle = join(directory, 'dump.rdb')
      rmSync(lab.obstacle, { force: true })
      mkdirSync(lab.obstacle)
      await admin.config('SET', 'save', '3600 1', 'stop-writes-on-bgsave-error', 'yes')
      await admin.bgsave()
      while (!(await admin.info('persistence')).includes('rdb_last_bgsave_status:err')) await sleep(10)
    },
    async end({ admin, obstacle }) {
      await admin.config('SET', 'stop-writes-on-bgsave-error', 'no')
      rmdirSync(obstacle)
    },
    tells: LOST,
    alone: true,
  },
]
