// index.d.ts is written by hand: it must not drift from what the engine does.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const declarations = read('index.d.ts')
const engine = {
  options: read('src/config/options.rs'),
  errors: ['src/error.rs', 'lib/fetch.js', 'lib/native.js', 'unsupported.js'].map(read).join(''),
}

const [optionsBody] = declarations.split('interface FlagDefinitionCacheOptions')[1].split('\n}\n')
/** The name of each option, and its documentation. */
const documented = new Map(
  [...optionsBody.matchAll(/\/\*\*(.*?)\*\/\s*(\w+)\??:/gs)].map(([, text, name]) => [name, text]),
)

/** A constant of options.rs: text, or a product of numbers. */
function constant(name) {
  const [, text, product] = engine.options.match(new RegExp(`const ${name}: [^=]*= (?:"([^"]*)"|([\\d_ *]+));`))
  return text ?? product.split('*').reduce((total, factor) => total * Number(factor.replaceAll('_', '')), 1)
}

test('every option is documented, and nothing else', () => {
  const names = engine.options.match(/const OPTION_NAMES: &str = "([^"]*)"/)[1].split(/,[\s\\]*/)
  assert.deepEqual([...documented.keys()].sort(), names.sort())
})

test('every option but the required one states its default', () => {
  for (const [name, text] of documented) {
    assert.equal(text.includes('@default'), name !== 'projectKey', name)
  }
})

test('every duration states its unit, and what 0 means', () => {
  const durations = [...documented].filter(([name]) => name.endsWith('Ms'))
  assert.ok(durations.length > 0)
  for (const [name, text] of durations) {
    assert.match(text, /\bMilliseconds[^*]*\b0( is not allowed|:)/, name)
  }
})

test('the defaults and limits are those of the engine', () => {
  const defaults = [...documented].map(([name, text]) => [name, text.match(/@default ('[^']*'|[\d_]+)/)?.[1]])
  const constants = { keyPrefix: 'KEY_PREFIX' }
  for (const [name, text] of defaults) {
    if (name.endsWith('Ms') && name !== 'leaseTtlMs') {
      constants[name] = name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
    }
    if (!constants[name]) continue
    const documentedDefault = text.startsWith("'") ? text.slice(1, -1) : Number(text.replaceAll('_', ''))
    assert.equal(documentedDefault, constant(constants[name]), name)
  }
  assert.equal(Object.keys(constants).length, 6)
  assert.match(documented.get('leaseTtlMs'), /@default 1\.5 times/)
  assert.match(engine.options, /refresh_interval \* 3 \/ 2/)
  assert.match(documented.get('refreshIntervalMs'), new RegExp(`at least ${constant('MIN_REFRESH_INTERVAL_MS')}\\.`))
})

test('of several words the default is the one the engine takes', () => {
  const choices = [...engine.options.matchAll(/choice\(\s*"(\w+)",\s*&\[\("(\w+)"/g)]
  assert.equal(choices.length, 4)
  for (const [, name, first] of choices) {
    assert.match(documented.get(name), new RegExp(`@default '${first}'`), name)
  }
})

test('the error codes are those of the engine, each explained', () => {
  const codes = [...new Set(engine.errors.match(/ERR_FLAG_CACHE_\w+/g))].sort()
  const union = declarations.split('export type FlagCacheErrorCode =')[1].split('\n\n')[0]
  assert.deepEqual(union.match(/ERR_FLAG_CACHE_\w+/g).sort(), codes)
  for (const code of codes) assert.ok(declarations.includes(` * - \`${code}\`: `), code)
})

test('the table in the README has every option, with the same default', () => {
  const rows = read('README.md').split('\n## Options\n')[1].split('\n## ')[0].matchAll(/^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|/gm)
  const table = new Map([...rows].flatMap(([, names, value]) => names.match(/\w+/g).map((name) => [name, value])))
  assert.deepEqual([...table.keys()].sort(), [...documented.keys()].sort())
  for (const [name, text] of documented) {
    const [, literal] = text.match(/@default ('[^']*'|[\d_]{3,})/) ?? []
    if (literal) assert.equal(table.get(name), `\`${literal}\``, name)
  }
  assert.equal(table.get('leaseTtlMs'), '1.5 × `refreshIntervalMs`')
})
