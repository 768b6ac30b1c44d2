// docs/design.md has a line for each file of the engine and of the class.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..')

function filesIn(folder) {
  const entries = readdirSync(join(ROOT, folder), { withFileTypes: true })
  return entries.flatMap((entry) => (entry.isDirectory() ? filesIn(`${folder}/${entry.name}`) : [`${folder}/${entry.name}`]))
}

test('the table of files names each file once, and no other', () => {
  const [table] = readFileSync(join(ROOT, 'docs/design.md'), 'utf8').split('\n| file | idea |\n')[1].split('\n\n')
  const named = [...table.matchAll(/^\| `([^`]+)` \| \S/gm)].map(([, name]) => name)
  assert.deepEqual(named.sort(), [...filesIn('src'), ...filesIn('lib')].sort())
})
