// What the harness says that a process evaluated, when evaluations overlap.

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'

import { VERSION_FLAG } from '../../dev/harness/definitions.mjs'
import { FleetWorker } from '../../dev/harness/fleet-worker.mjs'
import { record } from '../../dev/harness/history.mjs'
import { temporaryDirectory } from '../support/stores.mjs'

/** A posthog-node whose evaluations end as the test wants: one that holds `null` after the one that began next. */
const posthogNode = (versions) => `
  const versions = ${JSON.stringify(versions)}
  const ended = versions.map(() => Promise.withResolvers?.() ?? deferred())
  let begun = 0
  function deferred() {
    const parts = {}
    parts.promise = new Promise((resolve) => (parts.resolve = resolve))
    return parts
  }
  export class PostHog {
    on() {}
    isLocalEvaluationReady() { return true }
    async getAllFlagsAndPayloads() {
      const index = begun++
      if (versions[index] === null) await ended[index + 1].promise
      ended[index].resolve()
      return { featureFlags: versions[index] === null ? {} : { ${JSON.stringify(VERSION_FLAG)}: versions[index] } }
    }
    async shutdown() {}
  }
`

/** Has a worker begin evaluations, all at once; `{ worker, seen }`: what each gave. */
async function evaluate(t, versions) {
  const file = join(temporaryDirectory(t), 'posthog.mjs')
  writeFileSync(file, posthogNode(versions))
  const worker = new FleetWorker({
    id: 'w1',
    host: 'http://127.0.0.1:1',
    kind: 'none',
    projectKey: 'phc_x',
    posthogNode: pathToFileURL(file).href,
  })
  t.after(() => worker.kill())
  await worker.until('started')
  return { worker, seen: await Promise.all(versions.map(() => worker.evaluate())) }
}

const versionsOf = ({ history }) => history.map(({ version }) => version)

test('an evaluation that began before the first load, and ended after one that began later, lost nothing', async (t) => {
  const { worker, seen } = await evaluate(t, [null, 'v1', 'v1'])
  assert.deepEqual(seen, [null, 'v1', 'v1'])
  assert.deepEqual(versionsOf(worker), ['v1'])
  assert.equal(worker.version, 'v1')
})

test('but flags that were there, and were gone in between, were lost', async (t) => {
  for (const versions of [
    ['v1', null, 'v2'],
    ['v1', null, 'v1'],
  ]) {
    const { worker } = await evaluate(t, versions)
    assert.deepEqual(versionsOf(worker), versions)
  }
})

test('an older version that is reported late does not become the current one', () => {
  const history = []
  assert.equal(record(history, { version: 'v2', at: 2 }), true)
  assert.equal(record(history, { version: 'v1', at: 1 }), true)
  assert.equal(record(history, { version: 'v2', at: 3 }), false)
  assert.deepEqual(history, [
    { version: 'v1', at: 1 },
    { version: 'v2', at: 2 },
  ])
})

test('a change is as old as the first evaluation that saw it', () => {
  const history = []
  for (const entry of [
    { version: 'v1', at: 1 },
    { version: 'v2', at: 4 },
    { version: 'v2', at: 3 },
  ])
    record(history, entry)
  assert.deepEqual(history, [
    { version: 'v1', at: 1 },
    { version: 'v2', at: 3 },
  ])
})
