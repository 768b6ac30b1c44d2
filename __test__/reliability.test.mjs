// docs/reliability.md holds what __test__/chaos/ tests, and nothing else.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { FAULTS } from '../dev/faults/index.mjs'

const document = readFileSync(new URL('../docs/reliability.md', import.meta.url), 'utf8')
const rows = [...document.matchAll(/^\| (.+?) \| (.*?) ?\| (.*?) ?\|$/gm)].slice(1).map(([, ...cells]) => cells)

test('the table of docs/reliability.md has each family, and in it each fault, in the order of the suite', () => {
  const all = Object.entries(FAULTS).flatMap(([family, faults]) => [`**${family}**`, ...faults.map(({ name }) => name)])
  assert.deepEqual(rows.map(([name]) => name), all)
})

test('what the table says is reported is what the suite lets posthog-node report, and how long it took is a time', () => {
  for (const { name, tells, mayTell = [] } of Object.values(FAULTS).flat()) {
    const [, reported, took] = rows.find(([first]) => first === name)
    const codes = [...reported.matchAll(/`(\w+)`/g)].map(([, code]) => code)
    assert.deepEqual(codes.filter((code) => ![...tells, ...mayTell].includes(code)), [], name)
    assert.ok(codes.length > 0 || (reported === 'nothing' && tells.length === 0), `${name}: ${reported}`)
    assert.match(took, /^\d+\.\d s$/, name)
  }
})
