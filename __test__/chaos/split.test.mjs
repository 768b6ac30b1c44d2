// Two masters at a time: after a failover on command the sentinels leave the old one as it is for a while.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { openChaosLab } from '../../dev/harness/chaos-lab.mjs'
import { now } from '../../dev/harness/clock.mjs'
import { startWatched } from '../../dev/harness/deployments.mjs'
import * as judge from './judge.mjs'

test('two halves of a fleet, each with its own primary, become one again, with the newest definitions', async (t) => {
  const lab = await openChaosLab({ topology: startWatched })
  t.after(() => lab.close())
  const { api, fleet, sentinels, keys, admin: former } = lab
  await fleet.start(2, { together: true })
  await fleet.everyone({ version: api.edit() })
  // Four of these later the old master is made a replica.
  for (const { admin } of sentinels) await admin.call('SENTINEL', 'DEBUG', 'PUBLISH-PERIOD', 1_500)
  await lab.failOver()
  await lab.untilNamed()
  await fleet.start(2, { together: true })
  const leaders = async () => new Set(await Promise.all([former, lab.admin].map((server) => server.hget(keys.state, 'owner'))))

  const calls = api.calls.length
  const begunAt = now()
  for (let edits = 0; edits < 3; edits += 1) await fleet.everyone({ version: api.edit() })
  assert.equal((await leaders()).size, 2, 'each half has somebody who fetches')
  const most = 2 * (1 + judge.callsAtMost(now() - begunAt, lab.pollMs))
  assert.ok(api.calls.length - calls <= most, `${api.calls.length - calls} calls of two halves, where ${most} are allowed`)

  await lab.untilDemoted()
  await judge.sharesAgain(lab, now())
  await judge.assertPaced(lab)
  await fleet.everyone({ version: api.edit() })
  assert.equal((await leaders()).size, 1)
  assert.deepEqual([...judge.codesTold(lab)], [])
  judge.assertUnharmed(lab)
  judge.assertFlagsKept(lab)
  judge.assertBounded(lab)
  await judge.assertWhole(lab)
  await judge.assertFewConnections(lab)
})
