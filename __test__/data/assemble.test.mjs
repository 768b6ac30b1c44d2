// What JavaScript makes of the pieces that native code hands over, held against `JSON.parse` of the whole text.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'

import fc from 'fast-check'

import { newProjectKey } from '../support/stores.mjs'

const require = createRequire(import.meta.url)
const { NativeProvider } = require('../../native.js')
const { assemble, toNative } = require('../../lib/transfer.js')

/** JSON as nobody writes it, and `JSON.parse` takes it. */
// biome-ignore format: many values to a line
const oddity = fc.constantFrom(
  '0', '-0', '1e400', '-1E+2', '0.1e-7', '9007199254740993', '123456789012345678901234567890', '5e-324',
  '""', '"\\u0041"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"😀"', '"é"', '"ÿĀ"', '"€"', '"\\/\\b\\"\\\\"', '"\u2028"', '"\u007f"',
  'true', 'false', 'null', '[]', '{}', ' [ 1 , { } ] ', '{"a":1,"a":2}', '{"__proto__":{"x":1}}', '{"constructor":1,"1":2,"0":3}',
)
const raw = fc.oneof(
  oddity,
  fc.json(),
  fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
)
/** Few, so that many come twice. */
const rawKey = fc.oneof(
  // biome-ignore format: many values to a line
  fc.constantFrom(
    '"a"', '"\\u0061"', '"b"', '"7"', '"07"', '"2"', '"__proto__"', '"\\u005f_proto__"', '"é"', '"ключ"', '"\\ud800"', '""', '"toString"',
  ),
  fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
)
const list = fc.array(raw, { maxLength: 8 })
const entries = fc.array(fc.tuple(rawKey, raw), { maxLength: 8 })
/** Flags: what they hold is as odd as anything. */
const rawFlag = fc.oneof(
  fc.constantFrom(
    '{"key":"a"}',
    ' { "k\\u0065y" : "é" , "a" : 1 } ',
    '{"key":1,"x":"}","key":""}',
    '{"x":{"key":[]},"key":"\\ud800"}',
    '{"key":"a","__proto__":{}}',
  ),
  raw.map((value) => `{"key":"b","x":${value}}`),
  fc.tuple(raw, raw).map(([value, other]) => `{"x":${value},"key":"c","x":${other}}`),
)
/** A member of the top object: `[key, value]`, where the value is a list, entries, or text. */
const member = fc.oneof(
  fc.tuple(
    fc.constantFrom('"flags"', '"fl\\u0061gs"', '"x"'),
    list.map((list) => ({ list })),
  ),
  fc.tuple(
    fc.constantFrom('"cohorts"', '"__proto__"', '"x"'),
    entries.map((entries) => ({ entries })),
  ),
  fc.tuple(
    rawKey,
    raw.map((text) => ({ text })),
  ),
)
const edit = fc.record({
  at: fc.nat(),
  part: fc.nat(),
  kind: fc.constantFrom('add', 'remove', 'replace', 'move', 'rename', 'none'),
  raw,
  rawFlag,
  rawKey,
  member,
})
const history = fc.record({
  members: fc.array(member, { maxLength: 6 }),
  flags: fc.array(rawFlag, { maxLength: 8 }),
  edits: fc.array(fc.array(edit, { maxLength: 3 }), { minLength: 1, maxLength: 4 }),
  blanks: fc.array(fc.constantFrom('', ' ', '\n', '\t \r'), { minLength: 1, maxLength: 5 }),
})

function edited(members, { at, part, kind, raw, rawFlag, rawKey, member }) {
  const next = structuredClone(members)
  // The last member is the array that makes them definitions.
  const [, value] = next[at % next.length]
  const parts = value.list ?? value.entries
  if (!parts || parts.length === 0) return [member, ...next]
  const place = part % parts.length
  const isFlags = at % next.length === next.length - 1
  const fresh = isFlags ? rawFlag : value.list ? raw : [rawKey, raw]
  if (kind === 'add') parts.splice(place, 0, fresh)
  if (kind === 'remove') parts.splice(place, 1)
  if (kind === 'replace') parts[place] = fresh
  if (kind === 'move') parts.push(...parts.splice(place, 1))
  if (kind === 'rename' && value.entries) parts[place] = [rawKey, parts[place][1]]
  return next
}

function textOf(members, blanks) {
  let count = 0
  const blank = () => blanks[++count % blanks.length]
  const join = (parts) => parts.map((part) => blank() + part + blank()).join(',') || blank()
  const entry = ([key, value]) => `${key}${blank()}:${blank()}${value}`
  const text = ({ list, entries, text }) => text ?? (list ? `[${join(list)}]` : `{${join(entries.map(entry))}}`)
  return `${blank()}{${join(members.map(([key, value]) => entry([key, text(value)])))}}${blank()}`
}

function freeze(value) {
  if (value !== null && typeof value === 'object' && !Object.isFrozen(value)) Object.values(Object.freeze(value)).forEach(freeze)
  return value
}

test('definitions made of pieces are what JSON.parse makes of their text, whatever changed since the last ones', async () => {
  const makes = async ({ members, flags, edits, blanks }) => {
    const options = { projectKey: newProjectKey(), url: 'memory:' }
    const [writer, reader] = [new NativeProvider(options), new NativeProvider(options)]
    await writer.poll()
    let current = [...members, ['"flags"', { list: flags }]]
    let held = {}
    for (const [number, some] of [[], ...edits].entries()) {
      current = some.reduce(edited, current)
      // Later ones with other whitespace too.
      const text = textOf(current, blanks.slice(number % blanks.length))
      await writer.received(await toNative(text))
      const found = await reader.get(held.version)
      if (found === true) continue
      const before = held.definitions
      held = await assemble(found, held)
      const expected = JSON.parse(text)
      assert.deepStrictEqual(held.definitions, expected)
      assert.equal(JSON.stringify(held.definitions), JSON.stringify(expected), 'in the same order')
      assert.notEqual(held.definitions, before)
      assert.notEqual(held.definitions.flags, before?.flags)
      // Whoever changed what was handed out would throw.
      freeze(held.definitions)
    }
  }
  await fc.assert(fc.asyncProperty(history, makes), { numRuns: 1_000, seed: 7 })
})

test('a flag or a cohort that did not change keeps its identity', async () => {
  const options = { projectKey: newProjectKey(), url: 'memory:' }
  const [writer, reader] = [new NativeProvider(options), new NativeProvider(options)]
  await writer.poll()
  const read = async (data, held) => {
    await writer.received(await toNative(JSON.stringify(data)))
    return assemble(await reader.get(held.version), held)
  }
  const flag = (key, version = 1) => ({ key, version })
  const first = await read(
    { flags: ['a', 'b', 'c', 'd'].map((key) => flag(key)), cohorts: { 1: { x: 1 }, 2: { x: 2 } }, other: { y: [] } },
    {},
  )
  const second = await read(
    { flags: [flag('d'), flag('a'), flag('b', 2), flag('c')], cohorts: { 2: { x: 2 }, 1: { x: 3 } }, other: { y: [] } },
    first,
  )
  const [before, now] = [first.definitions, second.definitions]
  assert.deepEqual(
    now.flags.map((flag) => before.flags.indexOf(flag)),
    [3, 0, -1, 2],
  )
  assert.equal(now.cohorts[2], before.cohorts[2])
  assert.notEqual(now.cohorts, before.cohorts)
  assert.equal(now.other, before.other)
})
