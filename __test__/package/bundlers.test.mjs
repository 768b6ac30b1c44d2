// The published package in a bundle, as docs/faq.md says.

import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'

import { newProject, npm, publish } from './support/consumer.mjs'
import { run } from './support/run.mjs'

const BUNDLERS = [
  'esbuild@0.28.2',
  'webpack@5.113.0',
  'webpack-cli@7.3.1',
  'node-loader@2.1.0',
  '@vercel/ncc@0.45.0',
  'postject@1.0.0-alpha.6',
]

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

/** Makes a single executable application of `folder/app.cjs`; its path. */
async function makeExecutable(folder) {
  const [app, blob, config] = ['app', 'app.blob', 'app.json'].map((name) => join(project, folder, name))
  writeFileSync(config, JSON.stringify({ main: join(project, folder, 'app.cjs'), output: blob, disableExperimentalSEAWarning: true }))
  await run(process.execPath, ['--experimental-sea-config', config], { cwd: project })
  copyFileSync(process.execPath, app)
  await bin('postject', app, 'NODE_SEA_BLOB', blob, '--sentinel-fuse', 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2')
  return app
}

/** It takes seconds to make one: this one can also go without its own require. */
const SEA_BANNER = "--banner:js=if (!process.env.BARE) require = require('node:module').createRequire(__filename)"
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

test('a single executable application works with its own require, and else says that the bundler is the reason', async () => {
  await esbuild('cjs', 'sea/app.cjs', '--loader:.node=copy', SEA_BANNER)
  const app = await makeExecutable('sea')
  assert.equal(await run(app, [], { cwd: tmpdir() }), 'true\n')
  await assert.rejects(run(app, [], { cwd: tmpdir(), env: { BARE: '1' } }), /a bundler packed the code of posthog-flag-cache/)
})
