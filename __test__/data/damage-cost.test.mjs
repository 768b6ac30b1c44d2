// Definitions that are made to cost as much as they can: a process that loads them keeps its memory, and its main thread.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'

import { runNode } from '../support/child.mjs'
import { FlagDefinitionCache } from '../support/client.mjs'
import { newProjectKey, STORES } from '../support/stores.mjs'
import { zstdPattern } from '../support/zstd.mjs'

const MAX_GROWTH_MB = 500
/** As a multiple of what `JSON.parse` of a million bytes takes in a new process. */
const MAX_BLOCK = 4

/** The limits (`src/limits.rs`), nearly. */
const [MEMORY, VALUE_BYTES, COPIES] = [449_000_000, 140, 4]
const [BYTES, PIECE_BYTES, PIECE_VALUES, PIECES] = [66_000_000, 8_300_000, 99_000, 65_000]

const several = (count, make) => Array.from({ length: Math.floor(count) }, (_, index) => make(index))
const member = (value) => `{"flags":[{"key":"a"}],"x":${value}}`
const unique = (index) => index.toString(36)
const one = (part) => `[${part}]`

/** Elements, each of so many values, in pieces as large as can be, for so much memory. */
function dense(values, make, memory = MEMORY) {
  let index = 0
  const piece = () => one(several(PIECE_VALUES / values, () => make(++index)).join(','))
  const pieces = [piece()]
  const each = PIECE_VALUES * VALUE_BYTES + pieces[0].length * 1.1 * COPIES
  while ((pieces.length + 1) * each < memory) pieces.push(piece())
  return pieces.join(',')
}

/** Text, in pieces as large as can be. */
function long(text, bytes = BYTES) {
  const piece = `"${text.repeat(PIECE_BYTES / Buffer.byteLength(text))}"`
  return several(bytes / PIECE_BYTES, () => piece).join(',')
}

/** What is allowed, and costs the most. */
const COSTLY = {
  'empty objects': () => one(dense(1, () => '{}')),
  'objects that V8 keeps as sparse arrays': () => one(dense(3, () => '{"33":1}')),
  'objects of a shape of their own': () => one(dense(3, (index) => `{"${unique(index)}":1}`)),
  'objects of a shape of their own, sparse as well': () => one(dense(5, (index) => `{"${unique(index)}":1,"33":1}`)),
  'strings of which none comes twice': () => one(dense(1, (index) => `"${unique(index)}"`)),
  'arrays in arrays': () =>
    one(several(MEMORY / (VALUE_BYTES + 2 * COPIES) / PIECE_VALUES, () => '['.repeat(PIECE_VALUES) + ']'.repeat(PIECE_VALUES)).join(',')),
  'small pieces': () => `{${several(PIECES, (index) => `"${unique(index)}":[]`).join(',')}}`,
  'long keys': () => `{${several(100, (index) => `"${unique(index)}${'\\u043a'.repeat(PIECE_BYTES / 700)}":1`).join(',')}}`,
  'long texts': () => one(long('x')),
  'long texts in another script': () => one(long('ключ', MEMORY / COPIES / 3)),
  'long texts, all of them escaped': () => one(long('\\u043a')),
  'long texts and values': () => one([long('x', BYTES / 2), dense(3, () => '{"33":1}', MEMORY - (BYTES / 2) * COPIES)].join(',')),
}

/** What is not allowed: the bytes in the store, and their text. */
const EXCESSIVE = {
  'the 24,000 bytes that took 4 GB': () => {
    const [head, pattern, tail] = ['{"flags":[{"key":"a"}],"x":[', '[],', '[]]}']
    const { stored, repeats } = zstdPattern(head, pattern, 255 * 2 ** 20, tail)
    const hash = createHash('sha256').update(head)
    const part = pattern.repeat(1_000)
    for (let left = repeats; left > 0; left -= 1_000) hash.update(left < 1_000 ? pattern.repeat(left) : part)
    return { stored, version: hash.update(tail).digest('hex') }
  },
  'a string of 60 MB': () => repeated('{"flags":[{"key":"a"}],"x":"', '"}'),
  'an object with a million keys': () => plain(member(`[{${several(1e6, (index) => `"${unique(index)}":1`).join(',')}}]`)),
  'a million cohorts': () => plain(member(`{${several(1e6, (index) => `"${unique(index)}":1`).join(',')}}`)),
  'a key of 60 MB': () => repeated('{"flags":[],"', '":1}'),
}

const plain = (text) => ({ stored: Buffer.from(text), version: createHash('sha256').update(text).digest('hex') })

/** Text of which a part is 60 MB of one letter, compressed: so much text alone is more than a store may hold. */
function repeated(head, tail) {
  const { stored, repeats } = zstdPattern(head, 'x', 6e7, tail)
  return {
    stored,
    version: createHash('sha256')
      .update(head + 'x'.repeat(repeats) + tail)
      .digest('hex'),
  }
}

const MEASURES = `
const { readFileSync } = require('node:fs')
// Of the main thread alone: others on this machine may be busy.
const cpuMs = () => {
  try { return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[0]) / 1e6 } catch { return performance.now() }
}
`

/** Says how many milliseconds it takes to parse a million bytes of empty objects. */
const PARSES = `${MEASURES}
const text = '[' + '{},'.repeat(333_333) + '{}]'
const from = cpuMs()
JSON.parse(text)
console.log(cpuMs() - from)
`

/** Loads what is stored, and says what that cost: `{ code, growthMB, blockMs }`. */
const LOADS = `${MEASURES}
const { FlagDefinitionCache } = require('posthog-flag-cache')
const peakMB = () => {
  try { return Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1e3 } catch { return process.resourceUsage().maxRSS / 1e3 }
}
const cache = new FlagDefinitionCache({
  projectKey: process.env.PROJECT, url: process.env.STORE, role: 'reader', coldStartWaitMs: 0, connectTimeoutMs: 30000, commandTimeoutMs: 30000,
})
let [from, last, blockMs, done] = [peakMB(), cpuMs(), 0, false]
function look() {
  const now = cpuMs()
  blockMs = Math.max(blockMs, now - last)
  last = now
  if (!done) setImmediate(look)
}
look()
let code
cache.getFlagDefinitions().then((found) => (code = found ? 'found' : 'none'), (error) => (code = error.code + ' ' + error.message)).then(async () => {
  await new Promise((resolve) => setTimeout(resolve, 100))
  done = true
  console.log(JSON.stringify({ code, growthMB: peakMB() - from, blockMs }))
  await cache.shutdown()
})
`

describe('a process that loads', () => {
  let store
  let maxBlockMs
  before(async () => {
    store = await STORES.redis()
    const parses = []
    while (parses.length < 5) parses.push(Number((await runNode(PARSES)).stdout))
    maxBlockMs = MAX_BLOCK * parses.toSorted((a, b) => a - b)[2]
  })
  after(() => store.close())

  /** As a process of ours publishes it, which may compress it. */
  async function published(value) {
    const projectKey = newProjectKey()
    const cache = new FlagDefinitionCache({
      projectKey,
      url: store.url,
      compression: 'zstd',
      connectTimeoutMs: 30_000,
      commandTimeoutMs: 30_000,
    })
    assert.equal(await cache.shouldFetchFlagDefinitions(), true)
    const fetch = cache.withFetch(async () => new Response(member(value)))
    const response = await fetch(`https://posthog.example/flags/definitions?token=${projectKey}`)
    await cache.onFlagDefinitionsReceived(await response.json())
    const [stored, version] = [await store.stored(projectKey), await store.client.hget(store.stateKey(projectKey), 'version')]
    await cache.shutdown()
    return { stored, version }
  }

  async function load({ stored, version }) {
    const projectKey = newProjectKey()
    const state = { revision: 1, fence: 1, version, bytes: stored.length, published_at: Date.now(), confirmed_at: Date.now() }
    await store.client.multi().set(store.dataKey(projectKey), stored).hset(store.stateKey(projectKey), state).exec()
    const { stdout, stderr } = await runNode(LOADS, { env: { PROJECT: projectKey, STORE: store.url }, timeoutMs: 120_000 })
    await store.client.del(store.dataKey(projectKey), store.stateKey(projectKey))
    assert.equal(stderr, '')
    const { code, growthMB, blockMs } = JSON.parse(stdout)
    const cost = `${Math.round(growthMB)} MB, ${Math.round(blockMs)} of ${Math.round(maxBlockMs)} ms: ${code}`
    assert.ok(growthMB < MAX_GROWTH_MB && blockMs < maxBlockMs, cost)
    return { code, cost }
  }

  for (const [what, make] of Object.entries(COSTLY)) {
    test(`as many ${what} as are allowed`, async (t) => {
      const { code, cost } = await load(await published(make()))
      assert.equal(code, 'found')
      t.diagnostic(cost)
    })
  }

  for (const [what, make] of Object.entries(EXCESSIVE)) {
    test(`${what} refuses them`, async (t) => {
      const { code, cost } = await load(make())
      assert.match(code, /^ERR_FLAG_CACHE_CORRUPT .*(exceed the limit of \d+|expands to more than \d+ bytes)\. /)
      t.diagnostic(cost)
    })
  }
})
