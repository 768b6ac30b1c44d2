// What this repository runs of others: named by hash, so that nobody can put something else in its place.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const list = (path) => readdirSync(new URL(`../../${path}`, import.meta.url)).map((name) => `${path}/${name}`)
const WORKFLOWS = list('.github/workflows')
/** Folders of packages that only tests need. */
const OF_TESTS = ['__test__/package/tools', ...list('__test__/packages')]

test('every action is pinned by its commit, with its version as a comment, and is the same everywhere', () => {
  const pins = new Map()
  for (const path of WORKFLOWS) {
    for (const [, used] of read(path).matchAll(/\buses: *(.*)$/gm)) {
      const [, action, commit] = used.match(/^([\w.-]+\/[\w.-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+$/) ?? assert.fail(`${path}: ${used}`)
      assert.equal(commit, pins.get(action) ?? commit, `${path}: ${action}`)
      pins.set(action, commit)
    }
  }
  assert.ok(pins.size >= 5)
})

test('every workflow begins with the right to read and no other', () => {
  for (const path of WORKFLOWS) assert.match(read(path), /^permissions:\n {2}contents: read\n\n/m, path)
})

test('npm installs without running scripts, and only what a lock file names', () => {
  for (const path of [...WORKFLOWS, 'scripts/setup.mjs', 'scripts/npm-packages.mjs']) {
    const text = read(path)
    assert.doesNotMatch(text, /npm (install|i|exec)\b|\bnpx (?!--no-install)/, path)
    for (const [line] of text.matchAll(/.*\bnpm ci\b.*|.*'npm', \['ci'.*/g)) {
      if (!/Unready/.test(line)) assert.match(line, /--ignore-scripts/, `${path}: ${line}`)
    }
  }
  for (const path of ['.', ...OF_TESTS].map((folder) => `${folder}/package-lock.json`)) {
    const { packages } = JSON.parse(read(path))
    for (const [name, { integrity, link }] of Object.entries(packages))
      if (name && !link) assert.match(integrity, /^sha512-/, `${path}: ${name}`)
  }
})

test('the lock files of what only tests need are of their package.json', () => {
  for (const folder of OF_TESTS) {
    const [{ dependencies }, { packages }] = ['package.json', 'package-lock.json'].map((name) => JSON.parse(read(`${folder}/${name}`)))
    assert.deepEqual(packages[''].dependencies, dependencies, folder)
  }
})

test('packages of PyPI are pinned by version and hash, and installed with no others', () => {
  for (const path of list('scripts/requirements')) {
    const requirements = read(path)
      .replaceAll('\\\n', '')
      .split('\n')
      .filter((line) => line && !line.startsWith('#'))
    assert.ok(requirements.length > 0, path)
    for (const line of requirements) assert.match(line, /^[\w-]+==[\w.]+( +--hash=sha256:[0-9a-f]{64})+$/, path)
  }
  for (const path of [...WORKFLOWS, ...list('scripts').filter((name) => name.endsWith('.mjs'))]) {
    const text = read(path)
    assert.doesNotMatch(text, /\bpipx\b/, path)
    if (/\bpip['"]?,? /.test(text)) assert.match(text, /--require-hashes/, path)
  }
})

test('cargo builds what is published, and installs its tools, with the versions of a lock file', () => {
  assert.match(read('scripts/build-release.mjs'), /'--locked'/)
  for (const path of [...WORKFLOWS, ...list('scripts').filter((name) => name.endsWith('.mjs'))]) {
    for (const [line] of read(path).matchAll(/.*(cargo install|\['install', `\$\{name\}@).*/g)) assert.match(line, /--locked/, path)
  }
})
