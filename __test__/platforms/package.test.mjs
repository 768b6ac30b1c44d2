// The published package on another platform, whose Node.js `process.execPath` runs. scripts/test-platforms.mjs starts it.

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { after, describe, test } from 'node:test'

import { json, newProject, npm, publish, ROOT } from '../package/support/consumer.mjs'
import { run } from '../package/support/run.mjs'
import { assertWorks } from '../package/support/works.mjs'
import { STORES } from '../support/stores.mjs'

const { PLATFORM: platform, PLATFORM_BINARY: binary } = process.env
const NODES = process.env.PLATFORM_NODES.split(delimiter)
const [os, cpu, abi] = platform.split('-')
const libc = abi === 'musl' ? 'musl' : 'glibc'

const { registry } = await publish({ after }, { platform, binary })
const cwd = newProject({ after }, registry)
const posthogNode = `posthog-node@${json(ROOT, 'package.json').devDependencies['posthog-node']}`
await npm(cwd, 'install', 'posthog-flag-cache', posthogNode, `--os=${os}`, `--cpu=${cpu}`, `--libc=${libc}`)

test('npm installs the binary of the platform and no other, and Node.js loads it', async () => {
  const installed = readdirSync(join(cwd, 'node_modules')).filter((name) => name.startsWith('posthog-flag-cache-'))
  assert.deepEqual(installed, [`posthog-flag-cache-${platform}`])
  const source = `
    require('posthog-flag-cache')
    const { header } = process.report.getReport()
    const files = Object.keys(require.cache).filter((file) => file.endsWith('.node'))
    console.log(process.platform, process.arch, header.glibcVersionRuntime ? 'glibc' : 'musl', files.length, files[0])
  `
  const said = (await run(process.execPath, ['-e', source], { cwd })).trim()
  assert.equal(said, `${os} ${cpu} ${libc} 1 ${join(cwd, 'node_modules', installed[0], `posthog-flag-cache.${platform}.node`)}`)
})

test('the command works', async () => {
  const command = join(cwd, 'node_modules/posthog-flag-cache/cli.js')
  assert.match(await run(process.execPath, [command, 'doctor', '--project-key', 'phc_x', '--url', 'memory:'], { cwd }), /^warning +store /)
})

for (const kind of Object.keys(STORES)) {
  describe(`the package works over ${kind}`, async () => {
    const store = await STORES[kind]()
    after(() => store.close())
    // Processes share no memory.
    const shared = kind !== 'memory'
    const works = (name, { node = process.execPath, ...options } = {}) =>
      assertWorks(node, [name], { cwd, url: store.url, shared, ...options })

    test('in four processes at once', () => works('use.cjs', { times: 4, together: true }))
    test('in worker threads', () => works('workers.cjs', { fleet: 8 }))
    // Nothing here depends on the store, and an emulator is slow.
    if (kind !== 'redis') return
    for (const [n, node] of NODES.entries()) test(`as ES module, on Node.js ${n + 1} of ${NODES.length}`, () => works('use.mjs', { node }))
    test('in node:cluster', () => works('cluster.cjs', { fleet: 6 }))
    test('in a context of its own, as in Jest', () => works('context.cjs'))
  })
}
