// A fleet whose password changes every two seconds, as that of a secrets manager does every few hours: no process notices.
//
// For five minutes: ROTATE_FOR_MS=300000 node --test __test__/fleet/rotation.test.mjs

import { writeFileSync } from 'node:fs'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'

import { now, sleep } from '../../dev/harness/clock.mjs'
import { openFleet } from '../support/fleet-suite.mjs'
import { redisFor, temporaryDirectory } from '../support/stores.mjs'

const ROTATE_FOR_MS = Number(process.env.ROTATE_FOR_MS ?? 8_000)
const ROTATE_EVERY_MS = 2_000

describe('the password changes, connections with the old one are killed, and no process fails:', { concurrency: 2 }, () => {
  for (const [name, passwordLastsMs] of [
    ['none knows when it will change', undefined],
    ['each knows how long it lasts', ROTATE_EVERY_MS],
  ]) {
    test(name, async (t) => {
      const redis = await redisFor(t, { args: ['--user', 'worker', 'on', '>0', '~*', '&*', '+@all'] })
      const admin = redis.client()
      const passwordFile = join(temporaryDirectory(t), 'password')
      writeFileSync(passwordFile, '0')
      const { api, assertPaced, assertQuiet, begin, fleet } = await openFleet(t, redis, {
        username: 'worker',
        passwordFile,
        passwordLastsMs,
      })
      await begin(3)
      await fleet.everyone({ version: api.version })

      const startedAt = now()
      for (let number = 1; now() - startedAt < ROTATE_FOR_MS; number += 1) {
        await admin.call('ACL', 'SETUSER', 'worker', `>${number}`)
        // As a secrets manager writes it: a file is never half there.
        writeFileSync(`${passwordFile}.next`, String(number))
        await rename(`${passwordFile}.next`, passwordFile)
        await admin.call('ACL', 'SETUSER', 'worker', `<${number - 1}`)
        await admin.call('CLIENT', 'KILL', 'USER', 'worker')
        if (number % 2) await fleet.everyone({ version: api.edit() })
        await sleep(ROTATE_EVERY_MS)
      }
      assertQuiet()
      assertPaced()
    })
  }
})
