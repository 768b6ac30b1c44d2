// `flagCache.fetch` of a client without definitions, while another process fetches.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'

import { definitions } from '../../dev/harness/definitions.mjs'
import { openCache } from '../support/client.mjs'
import { newProjectKey } from '../support/stores.mjs'

const DATA = definitions({ version: 'v1' })

/** A cache that fetches, and another one on the same store. `sent` grows with each request that reaches PostHog, which never answers. */
async function start(t, { coldStartWaitMs }) {
  const options = { projectKey: newProjectKey(), url: 'memory:' }
  const leader = openCache(t, { ...options, coldStartWaitMs: 60_000 })
  assert.equal(await leader.shouldFetchFlagDefinitions(), true)
  const other = openCache(t, { ...options, coldStartWaitMs })
  const sent = []
  const silence = async (_url, { signal }) => {
    sent.push(signal)
    signal.throwIfAborted()
    await once(signal, 'abort')
    throw signal.reason
  }
  const url = `https://us.i.posthog.com/flags/definitions?token=${options.projectKey}&send_cohorts`
  const fetch = other.withFetch(silence)
  return { leader, other, sent, fetch: (signal) => fetch(url, { signal }) }
}

/** It waits at its poll, in vain, and is then without definitions. */
async function comesAwayEmpty(cache) {
  assert.equal(await cache.shouldFetchFlagDefinitions(), false)
  assert.equal(await cache.getFlagDefinitions(), undefined)
}

/** The answer to come of a request that has reached PostHog. */
async function requestUnderWay(cache, sent, request) {
  await comesAwayEmpty(cache)
  let isOver = false
  const answer = request().finally(() => (isOver = true))
  answer.catch(() => {})
  while (sent.length === 0 && !isOver) await new Promise(setImmediate)
  assert.equal(sent.length, 1)
  return { answer }
}

async function assertAnswered(response) {
  assert.equal(response.status, 200)
  assert.equal((await response.json()).flags.length, DATA.flags.length)
}

describe('a request of a client without definitions', () => {
  test('is answered with definitions that another process has published meanwhile, without PostHog', async (t) => {
    const { leader, other, sent, fetch } = await start(t, { coldStartWaitMs: 10 })
    await comesAwayEmpty(other)
    await leader.onFlagDefinitionsReceived(DATA)
    await assertAnswered(await fetch())
    assert.deepEqual(sent, [])
  })

  test('that is running is aborted for definitions that another process publishes', async (t) => {
    const { leader, other, sent, fetch } = await start(t, { coldStartWaitMs: 10 })
    const { signal } = new AbortController()
    const { answer } = await requestUnderWay(other, sent, () => fetch(signal))
    await leader.onFlagDefinitionsReceived(DATA)
    await assertAnswered(await answer)
    assert.equal(sent[0].aborted, true)
    assert.equal(signal.aborted, false)
  })

  test('that is still waiting ends when it is aborted, and does not reach PostHog', async (t) => {
    const { other, sent, fetch } = await start(t, { coldStartWaitMs: 10 })
    await comesAwayEmpty(other)
    const reason = new Error('given up')
    const control = new AbortController()
    const answer = fetch(control.signal)
    control.abort(reason)
    await assert.rejects(answer, reason)
    assert.deepEqual(sent, [])
    await assert.rejects(fetch(AbortSignal.abort(reason)), reason)
  })

  test('that is running ends when it is aborted', async (t) => {
    const { other, sent, fetch } = await start(t, { coldStartWaitMs: 10 })
    const reason = new Error('given up')
    const control = new AbortController()
    const { answer } = await requestUnderWay(other, sent, () => fetch(control.signal))
    control.abort(reason)
    await assert.rejects(answer, reason)
    // Definitions that come later are taken at the next poll.
    assert.equal(other.status().definitions, null)
  })

  test("ends when a signal that is not Node.js's own aborts it", async (t) => {
    const { other, sent, fetch } = await start(t, { coldStartWaitMs: 10 })
    const reason = new Error('given up')
    const signal = Object.assign(new EventTarget(), { aborted: false, reason })
    const { answer } = await requestUnderWay(other, sent, () => fetch(signal))
    signal.aborted = true
    signal.dispatchEvent(new Event('abort'))
    await assert.rejects(answer, reason)
  })

  test('is answered by a fetch whose response has only json()', async (t) => {
    const projectKey = newProjectKey()
    const cache = openCache(t, { projectKey, url: 'memory:' })
    const fetch = cache.withFetch(async () => ({ status: 200, json: async () => DATA }))
    assert.equal(await cache.shouldFetchFlagDefinitions(), true)
    await assertAnswered(await fetch(`https://us.i.posthog.com/flags/definitions?token=${projectKey}&send_cohorts`, {}))
  })
})
