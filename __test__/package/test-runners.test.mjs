// docs/testing.md with the published package, in Jest and Vitest.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'

import { readPage, read } from '../../dev/markdown.mjs'
import { npmPackages } from '../../scripts/npm-packages.mjs'
import { json, npm, publish, ROOT, tools } from './support/consumer.mjs'
import { run } from './support/run.mjs'

const [setup, tests] = readPage(read('docs/testing.md')).snippets.map(({ text }) => text)

/** An application's module, in the words of the README. */
const APPLICATION = `
  const { PostHog } = require('posthog-node')
  const { FlagDefinitionCache } = require('posthog-flag-cache')

  const { POSTHOG_PROJECT_KEY, POSTHOG_SECRET_KEY, REDIS_URL } = process.env
  const flagCache = new FlagDefinitionCache({ projectKey: POSTHOG_PROJECT_KEY, url: REDIS_URL })
  exports.flagCache = flagCache
  exports.posthog = new PostHog(POSTHOG_PROJECT_KEY, { secretKey: POSTHOG_SECRET_KEY, ...flagCache.clientOptions })
`

/** What a test file says about where its flags come from. */
const OWN_TEST = `
  test('the flags are those of the setup file, through the cache', async () => {
    const { backend, definitions, failedFetches } = flagCache.status()
    expect([backend.kind, definitions.flags, failedFetches]).toEqual(['memory', 1, 0])
  })
`
const testFile = `const { posthog, flagCache } = require('./posthog.cjs')\n${tests}${OWN_TEST}`

const runners = npmPackages('test-runners')
const { registry } = await publish({ after })
// Below the folder with the runners, which finds them as any package.
const project = mkdtempSync(join(runners, 'project-'))
after(() => rmSync(project, { recursive: true, force: true, maxRetries: 5 }))
const files = {
  '.npmrc': `registry=${registry.url}/\n`,
  'package.json': JSON.stringify({ private: true, jest: { setupFiles: ['./posthog.setup.js'], testMatch: ['**/*.test.js'] } }),
  'vitest.config.mjs': "export default { test: { globals: true, setupFiles: ['./posthog.setup.js'] } }",
  'posthog.setup.js': setup,
  'posthog.cjs': APPLICATION,
  'one.test.js': testFile,
  'two.test.js': testFile,
}
for (const [name, text] of Object.entries(files)) writeFileSync(join(project, name), text)
await npm(project, 'install', 'posthog-flag-cache', `posthog-node@${json(ROOT, 'package.json').devDependencies['posthog-node']}`)

const bin = (name, file) => join(runners, 'node_modules', name, file)

test('Jest runs the tests of the docs in one process, and ends', { timeout: 60_000 }, async () => {
  const output = join(project, 'jest.json')
  await run(process.execPath, [bin('jest', 'bin/jest.js'), '--runInBand', '--json', `--outputFile=${output}`], {
    cwd: project,
    timeoutMs: 30_000,
  })
  assert.equal(json(output).numPassedTests, 6)
})

test('Vitest runs them', { timeout: 60_000 }, async () => {
  const output = join(project, 'vitest.json')
  const node = join(await tools(), 'node-24/bin/node')
  await run(node, [bin('vitest', 'vitest.mjs'), 'run', '--pool=threads', '--reporter=json', `--outputFile=${output}`], {
    cwd: project,
    timeoutMs: 30_000,
  })
  assert.equal(json(output).numPassedTests, 6)
})
