// docs/api.md is made from index.d.ts.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { read, readPage } from '../../dev/markdown.mjs'
import { apiPage } from '../../scripts/api-docs.mjs'

const declarations = read('index.d.ts')

test('docs/api.md is what npm run docs:api makes of index.d.ts', () => {
  assert.equal(read('docs/api.md'), apiPage(declarations))
})

test('everything that is exported is in it, and every error code', () => {
  const { anchors } = readPage(read('docs/api.md'))
  const names = [...declarations.matchAll(/^export (?:declare )?(?:class|interface|type) (\w+)/gm)].map(([, name]) => name)
  assert.ok(names.length > 0)
  for (const name of names) assert.ok(anchors.has(name.toLowerCase()), name)
  for (const [, code] of declarations.matchAll(/\| '(ERR_\w+)'/g)) assert.ok(read('docs/api.md').includes(`- \`${code}\`: `), code)
})

test('what has no comment is refused', () => {
  assert.throws(() => apiPage('export interface Given {\n  a: string\n}\n'), /line 1 of index.d.ts has no comment/)
  assert.throws(() => apiPage('/** Given. */\nexport interface Given {\n  a: string\n}\n'), /line 3 of index.d.ts has no comment/)
})
