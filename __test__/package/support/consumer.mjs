// The package as its users have it: packed, published to a registry of the test, and installed into a folder elsewhere.

import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { BINARY } from '../../../scripts/build-release.mjs'
import { pack } from '../../../scripts/pack.mjs'
import { run } from './run.mjs'
import { startRegistry } from './registry.mjs'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
export const HOST = `linux-${process.arch}-gnu`

const folder = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url))
export const json = (...path) => JSON.parse(readFileSync(join(...path), 'utf8'))

/** Everything that would be published, and a registry that has it until the suite ends; with the binary of one platform. */
export async function publish(suite, { platform = HOST, binary = BINARY } = {}) {
  const packages = pack({ folder: join(ROOT, 'target/package'), binaries: { [platform]: binary } })
  const registry = await startRegistry(packages)
  suite.after(() => registry.close())
  return { packages, registry, root: packages.at(-1), host: packages.find(({ manifest }) => manifest.name.endsWith(platform)) }
}

/** An empty project in which package managers find that registry; removed when `t` ends. Its path. */
export function newProject(t, registry, manifest) {
  const path = mkdtempSync(join(tmpdir(), 'flag-cache-consumer-'))
  t.after(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }))
  writeFileSync(join(path, '.npmrc'), `registry=${registry.url}/\n`)
  writeFileSync(join(path, 'package.json'), JSON.stringify({ name: 'consumer', private: true, ...manifest }))
  cpSync(folder('programs'), path, { recursive: true })
  return path
}

/** Nothing that the tests install needs its scripts: programs come as the packages that hold their binaries. */
export const npm = (cwd, ...args) => run('npm', [...args, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd })

/** The folder in which the programs of `tools/` are installed, each held against the hash in its lock file. */
export async function tools() {
  const path = join(ROOT, 'target/tools/npm')
  const lock = 'package-lock.json'
  const isThere =
    existsSync(join(path, 'node_modules/.package-lock.json')) &&
    readFileSync(join(path, lock), 'utf8') === readFileSync(join(folder('tools'), lock), 'utf8')
  if (!isThere) {
    cpSync(folder('tools'), path, { recursive: true })
    await npm(path, 'ci')
  }
  return join(path, 'node_modules')
}
