// Installs packed tarballs into an empty folder and runs posthog-node with them: `node scripts/try-tarballs.mjs FOLDER PLATFORM`.
// Needs nothing but Node.js, npm and tar, so that it runs on every platform that has a binary.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

import { newProject, npm } from '../__test__/package/support/consumer.mjs'
import { startRegistry } from '../__test__/package/support/registry.mjs'
import { run } from '../__test__/package/support/run.mjs'
import { startPostHogApi } from '../dev/harness/posthog-api.mjs'

const [folder, platform] = process.argv.slice(2)
if (!platform) throw new Error('name the folder with the tarballs, and the platform whose binary is expected')
const { devDependencies } = JSON.parse(readFileSync(fileURLToPath(new URL('../package.json', import.meta.url)), 'utf8'))

const packages = readdirSync(folder)
  .filter((name) => name.endsWith('.tgz'))
  .map((name) => {
    const tarball = resolve(folder, name)
    const manifest = JSON.parse(execFileSync('tar', ['-xOzf', name, 'package/package.json'], { cwd: folder, encoding: 'utf8' }))
    return { tarball, manifest, integrity: `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}` }
  })

const endings = []
const atEnd = { after: (end) => endings.unshift(end) }
try {
  const registry = await startRegistry(packages)
  atEnd.after(() => registry.close())
  const cwd = newProject(atEnd, registry)
  const directory = mkdtempSync(join(tmpdir(), 'flag-cache-try-'))
  atEnd.after(() => rmSync(directory, { recursive: true, force: true }))
  await npm(cwd, 'install', 'posthog-flag-cache', `posthog-node@${devDependencies['posthog-node']}`)
  const installed = readdirSync(join(cwd, 'node_modules')).filter((name) => name.startsWith('posthog-flag-cache-'))
  assert.deepEqual(installed, [`posthog-flag-cache-${platform}`])

  const api = await startPostHogApi()
  atEnd.after(() => api.close())
  const env = { API_URL: api.url, PROJECT_KEY: api.projectKey, SECRET_KEY: api.secretKey, CACHE_URL: pathToFileURL(directory).href }
  for (const program of ['use.cjs', 'use.mjs']) {
    const said = JSON.parse(await run(process.execPath, [program], { cwd, env }))
    assert.deepEqual(said, { version: api.version, errors: [], isOurs: true })
  }
  assert.deepEqual(
    api.calls.map(({ status }) => status),
    [200],
  )
  console.log(`posthog-flag-cache works on ${platform}, Node.js ${process.versions.node}`)
} finally {
  for (const end of endings) await end()
}
