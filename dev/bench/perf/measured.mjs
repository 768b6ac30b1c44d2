// One measured process. It does what it is asked over IPC, one request after another, and tells what that cost.

import { deepStrictEqual } from 'node:assert'
import { access } from 'node:fs/promises'

import { edit, editedAt, largeDefinitions } from '../large-definitions.mjs'
import { allocation, cost, longestBlock } from './instruments.mjs'
import { asReceived, prepare } from './subjects.mjs'

const INSTRUMENTS = { cost, longestBlock, allocation }

// Closed, or whoever measures was killed.
process.once('disconnect', () => process.exit())

let settings
let open
let opened
/** The definitions after the `edits`th edit, once they are needed. */
let expected
let edits = 0
/** What the last call gave, kept as posthog-node keeps it. */
let held

const COMMANDS = {
  async start(config) {
    settings = config
    open = config.kind && (await prepare(config.kind))
  },
  async connect() {
    opened = await open(settings)
  },
  /** Has the turn to fetch from now on. */
  async lead() {
    if (!(await opened.provider.shouldFetchFlagDefinitions())) throw new Error('the publisher was not told to fetch')
  },
  changed: (n, measure) => receive(n, measure, poll, { collect: false }),
  unchanged: (n, measure) => receive(n, measure, poll, { collect: false }),
  async first(_n, measure) {
    const measured = await measure(async () => {
      opened = await open(settings)
      return poll()
    })
    held = measured.value
    return measured
  },
  async publish(n, measure) {
    const data = asReceived(JSON.parse(textOf(n)))
    return measure(() => opened.provider.onFlagDefinitionsReceived(data))
  },
  fetch: (n, measure) =>
    receive(n, measure, async () => {
      const data = await (await opened.provider.fetch(settings.definitionsUrl)).json()
      await opened.provider.onFlagDefinitionsReceived(asReceived(data))
      return data
    }),
  json: (n, measure) => receive(n, measure, async () => (await fetch(settings.definitionsUrl)).json()),
  /** To another thread and back. */
  access: (_n, measure) => measure(() => access(process.execPath), { collect: false }),
  parse(n, measure) {
    const text = Buffer.from(textOf(n)).toString()
    return receive(n, measure, async () => JSON.parse(text))
  },
  /** In a process that has made no such objects yet: V8 learns their shapes from the first ones. */
  async firstParse(_n, measure) {
    const text = await (await fetch(settings.definitionsUrl)).text()
    return measure(async () => JSON.parse(text))
  },
  stringify(n, measure) {
    const data = asReceived(JSON.parse(textOf(n)))
    return measure(async () => JSON.stringify(data))
  },
  /** posthog-node itself, with a provider that has the definitions ready. */
  async load(n, measure) {
    const { PostHog } = await import('posthog-node')
    const data = asReceived(JSON.parse(textOf(n)))
    const flagDefinitionCacheProvider = {
      shouldFetchFlagDefinitions: () => false,
      getFlagDefinitions: () => data,
      onFlagDefinitionsReceived() {},
      shutdown() {},
    }
    const client = new PostHog('phc_floor', { secretKey: 'phs_floor', flagDefinitionCacheProvider })
    await client.waitForLocalEvaluationReady()
    const measured = await measure(() => client.reloadFeatureFlags())
    await client.shutdown()
    return measured
  },
  /** Everything, not only the flag that was edited. */
  verify(n) {
    advanceTo(n)
    deepStrictEqual(Object.fromEntries(Object.keys(expected).map((name) => [name, held[name]])), expected)
  },
  close: () => opened?.close(),
}

/** A load, as posthog-node does it. */
async function poll() {
  if (await opened.provider.shouldFetchFlagDefinitions()) throw new Error('a reader was told to fetch')
  return opened.provider.getFlagDefinitions()
}

async function receive(n, measure, work, options) {
  advanceTo(n)
  const measured = await measure(work, options)
  held = measured.value
  // One flag costs less than `verify()`, and finds a poll that gave what was there before.
  const index = editedAt(expected, n)
  deepStrictEqual(held?.flags[index], expected.flags[index])
  return measured
}

function advanceTo(n) {
  expected ??= largeDefinitions(settings.definitions)
  while (edits < n) expected = edit(expected, ++edits)
}

function textOf(n) {
  advanceTo(n)
  return JSON.stringify(expected)
}

let queue = Promise.resolve()
process.on('message', ({ id, command, args, instrument }) => {
  queue = queue.then(async () => {
    try {
      const result = await COMMANDS[command](...args, INSTRUMENTS[instrument])
      process.send({ id, cost: result?.cost })
    } catch (error) {
      process.send({ id, error: error.stack })
    }
  })
})
