// docs/reliability.md holds what __test__/chaos/ and __test__/yardstick/ test, and nothing else.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { FAULTS } from '../../dev/harness/faults/index.mjs'
import { MEMBER_FAULTS } from '../../dev/harness/faults/members.mjs'
import { SITUATIONS } from '../../dev/harness/yardstick/situations.mjs'

const document = readFileSync(new URL('../../docs/reliability.md', import.meta.url), 'utf8')

/** The rows below the two lines of its head, as lists of cells. */
function tableOf(name) {
  const [, table] = document.split(new RegExp(`<!-- /?${name} -->`))
  return table
    .trim()
    .split('\n')
    .slice(2)
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    )
}

const inFamilies = (families) =>
  Object.entries(families).flatMap(([family, members]) => [`**${family}**`, ...members.map(({ name }) => name)])
const rows = tableOf('chaos:table')

test('the table of faults in docs/reliability.md has each family, and in it each fault, in the order of the suite', () => {
  assert.deepEqual(
    rows.map(([name]) => name),
    inFamilies(FAULTS),
  )
})

test('the table of processes that cannot reach PostHog has each row of the suite, a report and a time', () => {
  const members = tableOf('members:table')
  assert.deepEqual(
    members.map(([name]) => name),
    MEMBER_FAULTS.map(({ name }) => name),
  )
  for (const [name, reported, took] of members) {
    assert.match(reported, /^`ERR_FLAG_CACHE_\w+`/, name)
    assert.match(took, /^\d+\.\d s$/, name)
  }
})

test('what the table says is reported is what the suite lets posthog-node report, and how long it took is a time', () => {
  for (const { name, tells, mayTell = [] } of Object.values(FAULTS).flat()) {
    const [, reported, took] = rows.find(([first]) => first === name)
    const codes = [...reported.matchAll(/`(\w+)`/g)].map(([, code]) => code)
    assert.deepEqual(
      codes.filter((code) => ![...tells, ...mayTell].includes(code)),
      [],
      name,
    )
    assert.ok(codes.length > 0 || (reported === 'nothing' && tells.length === 0), `${name}: ${reported}`)
    assert.match(took, /^\d+\.\d s$/, name)
  }
})

test('the comparison with posthog-node alone has each situation, and a value for both fleets in each cell', () => {
  const compared = tableOf('yardstick:table')
  assert.deepEqual(
    compared.map(([name]) => name),
    inFamilies(SITUATIONS),
  )
  for (const [name, ...cells] of compared.filter(([name]) => !name.startsWith('**'))) {
    for (const cell of cells) assert.match(cell, /^(\d+(\.\d s)?|never) \/ (\d+(\.\d s)?|never)$/, name)
  }
})
