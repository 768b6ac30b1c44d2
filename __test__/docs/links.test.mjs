// Every link in the docs leads somewhere: to a file of the repository, and to a heading that it has.

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { posix } from 'node:path'
import { test } from 'node:test'

import { pages, read, readPage, ROOT } from '../../dev/markdown.mjs'

const anchors = new Map(pages().map((page) => [page, readPage(read(page)).anchors]))

for (const page of pages()) {
  test(`the links of ${page} lead somewhere`, () => {
    const broken = readPage(read(page)).links.filter(({ target }) => !leadsSomewhere(page, target))
    assert.deepEqual(broken, [])
  })
}

test('every page of docs/ is linked from the README', () => {
  const linked = readPage(read('README.md')).links.map(({ target }) => target.split('#')[0])
  assert.deepEqual(
    pages().filter((page) => page.startsWith('docs/') && !linked.includes(page)),
    [],
  )
})

function leadsSomewhere(page, target) {
  if (/^https:\/\/\S+$/.test(target)) return true
  const [path, anchor] = target.split('#')
  const file = path === '' ? page : posix.normalize(`${posix.dirname(page)}/${path}`)
  if (file.startsWith('..') || !existsSync(`${ROOT}${file}`)) return false
  return anchor === undefined || anchors.get(file)?.has(anchor) === true
}
