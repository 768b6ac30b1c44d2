// What the README says of each platform is what CI, scripts/test-platforms.mjs and the release workflow do.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { PARTS } from '../../scripts/test-platforms.mjs'

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const { targets } = JSON.parse(read('package.json')).napi
const HOST = 'x86_64-unknown-linux-gnu'

const [, table] = read('README.md').split(/<!-- \/?platforms -->/)
const rows = Object.fromEntries(
  table
    .trim()
    .split('\n')
    .slice(2)
    .map((line) => line.split('|').slice(1, -1))
    .map(([name, ...cells]) => [name.match(/`(.+)`/)[1], cells.map((cell) => cell.trim())]),
)

/** What these parts do for a target. */
function workOf(target, parts) {
  if (parts.some(({ runs }) => runs?.includes(target))) return target.startsWith('x86_64') ? 'run' : 'run in an emulator'
  if (parts.some(({ tests }) => tests?.includes(target))) return 'Rust tests in Wine'
  return parts.some(({ compiles }) => compiles?.includes(target)) ? 'only compiled' : ''
}

test('the table has each target of package.json, and no other', () => assert.deepEqual(Object.keys(rows).sort(), [...targets].sort()))

test('it says what `npm run test:platforms` does, and what of that is in CI', () => {
  const [, names] = read('.github/workflows/ci.yml').match(/run: npm run test:platforms -- --only (.*)$/m)
  const inCi = names.split(',').map((name) => PARTS[name])
  for (const [target, [ci, here]] of Object.entries(rows)) {
    assert.equal(here, workOf(target, Object.values(PARTS)), target)
    assert.equal(ci, target === HOST ? 'all tests' : workOf(target, inCi), target)
  }
})

test('it says that the release workflow builds each target, and runs it before it publishes', () => {
  const workflow = read('.github/workflows/release.yml')
  const builds = [...workflow.matchAll(/\{ platform: (\S+), .* rust: (\S+), /g)].map(([, platform, target]) => [target, platform])
  const [, ...jobs] = workflow.split(/^ {2}(?=try|test)/m)
  const tried = jobs.flatMap((job) => job.match(/^try.*:\n/) && job.match(/platform: \[(.*)\]/)[1].split(', '))
  assert.deepEqual(builds.map(([target]) => target).sort(), [...targets].sort())
  for (const [target, platform] of builds) assert.equal(rows[target][2], tried.includes(platform) ? 'run' : '', target)
  assert.match(workflow, /needs: \[try, try-musl, test\]/)
})
