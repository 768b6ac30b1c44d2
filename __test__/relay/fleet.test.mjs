// Relays as members of a fleet: what posthog-node gets through one, in good times and bad.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { now } from '../../dev/harness/clock.mjs'
import { until } from '../support/relay.mjs'
import { addEveryKind, USERS } from '../support/every-kind.mjs'
import { openRelayedFleet } from '../support/relayed-fleet.mjs'

describe('posthog-node clients that use only a relay', { timeout: 120_000 }, () => {
  test('evaluate like the fleet, get an edit after one poll, and cause no request to PostHog', async (t) => {
    const { api, fleet, startRelay, startClient, assertPaced } = await openRelayedFleet(t)
    const begunAt = now()
    await startRelay()
    const workers = await fleet.start(4)
    const clients = [startClient(), startClient()]
    await Promise.all(clients.map(({ ready }) => ready()))
    assertPaced(begunAt, 0)

    const expected = await workers[0].ask('evaluateUsers', USERS)
    assert.ok(new Set(expected.map((flags) => JSON.stringify(flags))).size > 20, 'the users differ')
    for (const key of ['half', 'variants', 'needs-half', 'needs-test', 'in-cohort', 'of-organization'])
      assert.ok(new Set(expected.map((flags) => flags[key])).size > 1, `${key} differs between users`)
    for (const { client } of clients) {
      const found = await Promise.all(USERS.map((user) => client.getAllFlags(...user)))
      assert.deepEqual(found, expected)
    }

    const [from, calls] = [now(), api.calls.length]
    for (let n = 0; n < 3; n += 1) {
      const fetched = api.nextCall(({ status }) => status === 200)
      const version = api.edit(addEveryKind)
      await fetched
      const polls = await Promise.all(clients.map((client) => client.until(version)))
      // One may have been under way.
      assert.ok(
        polls.every((n) => n <= 2),
        String(polls),
      )
      await fleet.everyone({ version })
    }
    assertPaced(from, calls)
    assert.equal(api.count(200, calls), 3)
    for (const { statuses } of clients) {
      assert.deepEqual([...new Set(statuses)].sort(), [200, 304])
      assert.equal(statuses.filter((status) => status === 200).length, 4)
    }
    assert.equal(api.remoteEvaluations, 0)
  })

  test('keep their flags while PostHog is down, and new ones get them', async (t) => {
    const { api, fleet, startRelay, startClient } = await openRelayedFleet(t)
    await startRelay()
    await fleet.start(2)
    const early = startClient()
    await early.ready()
    const { version } = api
    api.always(503)
    await early.polls(6)
    const late = startClient()
    assert.ok(await late.ready())
    assert.deepEqual([await early.version(), await late.version()], [version, version])
    assert.deepEqual([...new Set([...early.statuses.slice(1), ...late.statuses.slice(1)])], [304])
    api.normal()
    await early.until(api.edit())
  })

  test('keep their flags while Redis is down, and still get edits', async (t) => {
    const { api, redis, startRelay, startClient } = await openRelayedFleet(t)
    await startRelay()
    const early = startClient()
    await early.ready()
    await redis.stop()
    await early.polls(4)
    const late = startClient()
    assert.ok(await late.ready())
    const version = api.edit()
    await Promise.all([early.until(version), late.until(version)])
    assert.deepEqual([...new Set([...early.statuses, ...late.statuses])].sort(), [200, 304])
  })

  test('have at most one failed poll when the relay restarts, without a request to PostHog', async (t) => {
    const { api, startRelay, startClient, assertPaced } = await openRelayedFleet(t)
    const { child, ended } = await startRelay()
    const client = startClient()
    await client.ready()
    await client.polls(2)
    const [from, calls, polls] = [now(), api.calls.length, client.statuses.length]
    child.kill('SIGTERM')
    assert.equal((await ended).code, 0)
    // Within an interval, as of a supervisor.
    await startRelay()
    await client.polls(4)
    const failed = client.statuses.slice(polls).filter((status) => status !== 304)
    assert.ok(failed.length <= 1, String(client.statuses.slice(polls)))
    assertPaced(from, calls)
    await client.until(api.edit())
  })

  test('get their flags as soon as PostHog answers a relay that started without any', async (t) => {
    const { api, redis, startRelay, startClient } = await openRelayedFleet(t)
    api.always(503)
    await startRelay()
    const client = startClient()
    await client.polls(2)
    assert.equal(client.statuses.at(-1), 503)
    api.normal()
    await until(async () => client.client.isLocalEvaluationReady())
    assert.equal(await client.version(), api.version)
    assert.equal(await redis.client().exists(`posthog:flags:{${api.projectKey}}`), 1)
  })
})
