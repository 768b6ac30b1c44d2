// The published package in a bundle, as docs/faq.md says.

import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'

import { newProject, npm, publish } from './support/consumer.mjs'
import { run } from './support/run.mjs'

const BUNDLERS = ['esbuild@0.28.2', 'webpack@5.113.0', 'webpack-cli@7.3.1', 'node-loader@2.1.0', '@vercel/ncc@0.45.0']

const USE = `
  const cache = new FlagDefinitionCache({ projectKey: 'phc_bundled', url: 'memory:' })
  cache.shouldFetchFlagDefinitions().then(console.log)
`

const { registry } = await publish({ after })
const project = newProject({ after }, registry)
await npm(project, 'install', 'posthog-flag-cache', ...BUNDLERS)
writeFileSync(join(project, 'app.cjs'), `const { FlagDefinitionCache } = require('posthog-flag-cache')\n${USE}`)
writeFileSync(join(project, 'app.mjs'), `import { FlagDefinitionCache } from 'posthog-flag-cache'\n${USE}`)

const bin = (name, ...args) => run(join(project, 'node_modules/.bin', name), args, { cwd: project })
const esbuild = (format, file, ...args) =>
  bin(
    'esbuild',
    `app.${format === 'esm' ? 'mjs' : 'cjs'}`,
    '--bundle',
    '--platform=node',
    `--format=${format}`,
    `--outfile=${file}`,
    ...args,
  )
/** Where no `node_modules` are. */
const runBundle = (file) => run(process.execPath, [join(project, file)], { cwd: tmpdir() })

const BANNER = "--banner:js=import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)"

describe('a bundle with the binary works', () => {
  test('of esbuild, as CommonJS', async () => {
    await esbuild('cjs', 'esbuild/app.cjs', '--loader:.node=copy')
    assert.equal(await runBundle('esbuild/app.cjs'), 'true\n')
  })

  test('of esbuild, as an ES module with its own require', async () => {
    await esbuild('esm', 'esbuild/app.mjs', '--loader:.node=copy', BANNER)
    assert.equal(await runBundle('esbuild/app.mjs'), 'true\n')
  })

  test('of webpack with node-loader', async () => {
    const rules = "[{ test: /\\.node$/, loader: 'node-loader' }]"
    const output = `{ path: ${JSON.stringify(join(project, 'webpack'))}, filename: 'app.cjs' }`
    writeFileSync(
      join(project, 'webpack.config.cjs'),
      `module.exports = { mode: 'production', target: 'node', entry: './app.cjs', output: ${output}, module: { rules: ${rules} } }`,
    )
    await bin('webpack', '--config', 'webpack.config.cjs')
    assert.equal(await runBundle('webpack/app.cjs'), 'true\n')
  })

  test('of ncc', async () => {
    await bin('ncc', 'build', 'app.cjs', '--out', 'ncc')
    assert.equal(await runBundle('ncc/index.cjs'), 'true\n')
  })
})

test('a bundle without the package works beside it', async () => {
  await esbuild('esm', 'external.mjs', '--external:posthog-flag-cache')
  assert.equal(await runBundle('external.mjs'), 'true\n')
})

describe('a bundle that cannot work says that the bundler is the reason', () => {
  for (const [name, format, ...args] of [
    ['an ES module without require', 'esm', '--loader:.node=copy'],
    ['the name of the binary in place of the binary', 'cjs', '--loader:.node=file'],
    ['neither', 'esm', '--loader:.node=file'],
  ]) {
    test(name, async () => {
      const file = `broken/${name.replaceAll(' ', '-')}.${format === 'esm' ? 'mjs' : 'cjs'}`
      mkdirSync(join(project, 'broken'), { recursive: true })
      await esbuild(format, file, ...args)
      await assert.rejects(runBundle(file), /a bundler packed the code of posthog-flag-cache/)
    })
  }
})
