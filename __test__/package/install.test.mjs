// The published package with real posthog-node, as its users run it.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'

import { startRedis } from '../../dev/harness/redis.mjs'
import { json, newProject, npm, publish, ROOT, tools } from './support/consumer.mjs'
import { run } from './support/run.mjs'
import { assertWorks as works } from './support/works.mjs'

const { devDependencies } = json(ROOT, 'package.json')
const NEWEST = devDependencies['posthog-node']
const OTHERS = ['5.34.2', '5.45.0', '5.50.0']

const { registry } = await publish({ after })
const redis = await startRedis()
after(() => redis.stop())
const programs = await tools()
const project = newProject({ after }, registry)
await npm(project, 'install', 'posthog-flag-cache', `posthog-node@${NEWEST}`, `@types/node@${devDependencies['@types/node']}`)

const assertWorks = (command, args, { cwd = project, fleet } = {}) => works(command, args, { cwd, fleet, url: redis.url })

describe('the published package works', () => {
  const runtimes = {
    [`Node.js ${process.versions.node}`]: process.execPath,
    ...Object.fromEntries(['22', '24', '26'].map((major) => [`Node.js ${major}`, join(programs, `node-${major}/bin/node`)])),
  }
  for (const [name, node] of Object.entries(runtimes)) {
    test(`on ${name}, as CommonJS`, () => assertWorks(node, ['use.cjs']))
    test(`on ${name}, as ES module`, () => assertWorks(node, ['use.mjs']))
  }

  test('in worker threads', () => assertWorks(process.execPath, ['workers.cjs'], { fleet: 8 }))
  test('in node:cluster', () => assertWorks(process.execPath, ['cluster.cjs'], { fleet: 6 }))
  test('in a context of its own, as in Jest', () => assertWorks(process.execPath, ['context.cjs']))

  test('from TypeScript, with the module resolutions nodenext and bundler', async () => {
    const tsc = [join(ROOT, 'node_modules/typescript', json(ROOT, 'node_modules/typescript/package.json').bin.tsc), '--strict']
    const compile = (...args) =>
      run(process.execPath, [...tsc, '--skipLibCheck', '--types', 'node', '--target', 'es2022', ...args], { cwd: project })
    await compile('--module', 'esnext', '--moduleResolution', 'bundler', '--noEmit', 'typed.mts')
    await compile('--module', 'nodenext', 'typed.mts', 'typed.cts')
    await assertWorks(process.execPath, ['typed.mjs'])
    await assertWorks(process.execPath, ['typed.cjs'])
  })

  test('on Bun, as CommonJS and as ES module', async () => {
    const bun = join(programs, '@oven/bun-linux-x64/bin/bun')
    await assertWorks(bun, ['use.cjs'])
    await assertWorks(bun, ['use.mjs'])
  })

  test('on Deno, as CommonJS and as ES module', async () => {
    const deno = join(programs, '@deno/linux-x64-glibc/deno')
    await assertWorks(deno, ['run', '--allow-all', 'use.cjs'])
    await assertWorks(deno, ['run', '--allow-all', 'use.mjs'])
  })

  test('installed with pnpm', async (t) => {
    const cwd = newProject(t, registry, { dependencies: { 'posthog-flag-cache': '*', 'posthog-node': NEWEST } })
    await run(join(programs, '@pnpm/exe.linux-x64/pnpm'), ['install'], { cwd })
    await assertWorks(process.execPath, ['use.mjs'], { cwd })
  })

  test('installed with Bun', async (t) => {
    const cwd = newProject(t, registry, { dependencies: { 'posthog-flag-cache': '*', 'posthog-node': NEWEST } })
    await run(join(programs, '@oven/bun-linux-x64/bin/bun'), ['install'], { cwd })
    await assertWorks(process.execPath, ['use.mjs'], { cwd })
  })

  for (const version of OTHERS) {
    test(`with posthog-node ${version}`, async (t) => {
      const cwd = newProject(t, registry)
      await npm(cwd, 'install', 'posthog-flag-cache', `posthog-node@${version}`)
      assert.equal(json(cwd, 'node_modules/posthog-node/package.json').version, version)
      await assertWorks(process.execPath, ['exit.cjs'], { cwd })
    })
  }
})
