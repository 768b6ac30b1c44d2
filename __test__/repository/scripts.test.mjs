// The scripts of package.json name folders of tests one by one: none may be forgotten.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

import { TESTS } from '../../scripts/test-platforms.mjs'

const at = (path) => new URL(`../../${path}`, import.meta.url)

test('each test file is run by exactly one script', () => {
  const { scripts } = JSON.parse(readFileSync(at('package.json'), 'utf8'))
  const named = [...Object.values(scripts), ...TESTS].flatMap((script) => script.match(/__test__\/[\w./*-]+\.test\.mjs/g) ?? [])
  const run = named.flatMap((pattern) =>
    pattern.endsWith('/*.test.mjs') ? testsIn(pattern.slice(0, pattern.lastIndexOf('/'))) : [pattern],
  )
  const all = readdirSync(at('__test__'), { recursive: true }).filter((path) => path.endsWith('.test.mjs'))
  assert.deepEqual(run.sort(), all.map((path) => `__test__/${path}`).sort())
})

const testsIn = (folder) => readdirSync(at(folder)).flatMap((name) => (name.endsWith('.test.mjs') ? [`${folder}/${name}`] : []))
