// The licences of what is linked into the binary: whoever ships it must ship them.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'

import { pack, PLATFORMS } from '../../scripts/pack.mjs'
import { temporaryDirectory } from '../support/stores.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FILE = 'THIRD_PARTY_LICENSES'
const text = readFileSync(join(ROOT, FILE), 'utf8')
const [contents, ...sections] = text.split(`\n${'='.repeat(80)}\n\n`)
const { name: NAME, napi } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

/** The crates that are linked into the binary of any platform, and the macros that wrote parts of it. */
function linkedCrates() {
  const targets = napi.targets.flatMap((target) => ['--target', target])
  const args = ['tree', '--locked', '--edges', 'normal', '--prefix', 'none', '--no-dedupe', '--format', '{p}', ...targets]
  const lines = execFileSync('cargo', args, { cwd: ROOT, encoding: 'utf8' }).split('\n').filter(Boolean)
  const crates = new Set(lines.map((line) => line.replace(/^(\S+) v(\S+).*/, '$1 $2')))
  return [...crates].filter((crate) => !crate.startsWith(`${NAME} `)).sort()
}

const listed = [...contents.matchAll(/^(\S+ \S+): \S.*$/gm)].map(([, crate]) => crate)
const users = (section) => section.match(/^Used by: (.*)$/m)[1].split(', ')
const sectionsOf = (crate) => sections.filter((section) => users(section).some((user) => user.split(' ')[0] === crate))

test('the file names every crate of Cargo.lock that is linked, and no other; if not: npm run licenses', () => {
  const linked = linkedCrates()
  assert.ok(linked.length > 50 && linked.some((crate) => crate.startsWith('zstd-sys ')), String(linked))
  assert.deepEqual(listed, linked)
})

test('every crate has the text of a licence, with its holders', () => {
  const covered = new Set(sections.flatMap(users))
  assert.deepEqual(
    listed.filter((crate) => !covered.has(crate)),
    [],
  )
  for (const section of sections) {
    const [, licence] = section.split(/^Used by: .*\n\n/m)
    assert.ok(licence.length > 400, section)
    assert.doesNotMatch(licence, /<year>|<owner>|<copyright holders>/)
  }
})

test('the C code that crates bundle, and the standard library, are among them', () => {
  const has = (crate, ...phrases) =>
    assert.ok(
      sectionsOf(crate).some((section) => phrases.every((phrase) => section.includes(phrase))),
      `${crate}: ${phrases}`,
    )
  has('zstd-sys', 'For Zstandard software', 'Meta Platforms', 'Redistributions in binary form must reproduce')
  has('ring', 'Apache License', 'BoringSSL')
  has('ring', 'ISC', 'Brian Smith')
  has('ring', 'fiat-crypto authors')
  has('libc', 'the Rust standard library', 'The Rust Project Developers')
})

test('every package with a binary ships the file, the other one has no need of it', (t) => {
  // What the binary holds does not matter here.
  const binaries = Object.fromEntries(PLATFORMS.map((platform) => [platform, join(ROOT, 'package.json')]))
  const packages = pack({ folder: temporaryDirectory(t), binaries })
  assert.equal(packages.length, PLATFORMS.length + 1)
  for (const { manifest, tarball, files } of packages) {
    const isRoot = manifest.name === NAME
    assert.equal(files.includes(FILE), !isRoot, manifest.name)
    if (!isRoot) assert.equal(execFileSync('tar', ['-xOzf', tarball, `package/${FILE}`], { encoding: 'utf8', maxBuffer: 2 ** 24 }), text)
  }
})
