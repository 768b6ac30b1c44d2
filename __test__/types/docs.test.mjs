// index.d.ts is written by hand, and the README repeats it: neither must drift from the engine. (What index.d.ts says of the options
// is held to it by tests/it/options/typings.rs.)

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { defaultOf, OPTIONS, typings } from '../support/typings.mjs'

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

test('the error codes are those of the engine, each explained', () => {
  const errors = ['src/error.rs', 'lib/fetch.js', 'lib/native.js', 'unsupported.js'].map(read).join('')
  const codes = [...new Set(errors.match(/ERR_FLAG_CACHE_\w+/g))].sort()
  const union = typings.split('export type FlagCacheErrorCode =')[1].split('\n\n')[0]
  assert.deepEqual(union.match(/ERR_FLAG_CACHE_\w+/g).sort(), codes)
  for (const code of codes) assert.ok(typings.includes(` * - \`${code}\`: `), code)
})

test('the table in the README has every option, with the same default', () => {
  const rows = read('README.md')
    .split('\n## Options\n')[1]
    .split('\n## ')[0]
    .matchAll(/^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|/gm)
  const table = new Map([...rows].flatMap(([, names, value]) => names.match(/\w+/g).map((name) => [name, value])))
  assert.deepEqual([...table.keys()].sort(), [...OPTIONS.keys()].sort())
  for (const [name, text] of OPTIONS) {
    const value = defaultOf(text)
    if (value === undefined) continue
    const literal = typeof value === 'string' ? `'${value}'` : value.toLocaleString('en').replaceAll(',', '_')
    assert.equal(table.get(name), `\`${literal}\``, name)
  }
  assert.equal(table.get('leaseTtlMs'), '1.5 × `refreshIntervalMs`')
})
