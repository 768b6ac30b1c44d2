// What it takes to have a client at all: time to load, memory once connected, size on disk, packages.

import { execFile, execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { CLIENTS } from './clients.mjs'
import { KINDS, OURS } from './subjects.mjs'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const PROBE = fileURLToPath(new URL('./footprint-probe.cjs', import.meta.url))
const run = promisify(execFile)

/** `{ [kind]: { loadMs: […], memoryBytes: […], installedBytes, packages } }` */
export async function measureFootprint({ rounds, redis, progress }) {
  const footprint = Object.fromEntries(KINDS.map((kind) => [kind, { loadMs: [], memoryBytes: [], ...installed(kind) }]))
  // The first round fills the file system's cache.
  for (let round = 0; round <= rounds; round += 1) {
    for (const kind of KINDS) {
      const probe = async (what) =>
        Number((await run(process.execPath, ['--expose-gc', PROBE, what, kind, CLIENTS[kind]?.module ?? ROOT, redis.url])).stdout)
      const [loadMs, memoryBytes] = [await probe('load'), await probe('memory')]
      if (round === 0) continue
      footprint[kind].loadMs.push(loadMs)
      footprint[kind].memoryBytes.push(memoryBytes)
    }
  }
  progress('footprint')
  return footprint
}

/** What an installation for this platform brings, its dependencies included. */
function installed(kind) {
  if (kind === OURS) {
    const packing = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [{ files }] = JSON.parse(packing)
    // The other package is this platform's, with the binary.
    const paths = [...files.map(({ path }) => path), ...readdirSync(ROOT).filter((name) => name.endsWith('.node'))]
    return { installedBytes: paths.reduce((sum, path) => sum + diskBytes(join(ROOT, path)), 0), packages: 2 }
  }
  const folders = packageFolders(CLIENTS[kind].module)
  return { installedBytes: [...folders].reduce((sum, folder) => sum + folderBytes(folder), 0), packages: folders.size }
}

/** The folders of a package and of all that it depends on. */
function packageFolders(name, from = ROOT, found = new Set()) {
  const folder = resolveFolder(name, from)
  if (!folder || found.has(folder)) return found
  found.add(folder)
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  for (const dependency of Object.keys({ ...dependencies, ...optionalDependencies })) packageFolders(dependency, folder, found)
  return found
}

/** As Node.js looks for it; undefined where it was not installed, as a package of another platform. */
function resolveFolder(name, from) {
  const folder = join(from, 'node_modules', name)
  if (existsSync(join(folder, 'package.json'))) return folder
  return from === ROOT || from === dirname(from) ? undefined : resolveFolder(name, dirname(from))
}

/** As du counts it: in whole blocks of the file system. */
const diskBytes = (file) => statSync(file).blocks * 512

function folderBytes(folder) {
  return readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
    // Those nested here are counted as the packages they are.
    if (entry.name === 'node_modules') return sum
    const path = join(folder, entry.name)
    return sum + (entry.isDirectory() ? folderBytes(path) : diskBytes(path))
  }, 0)
}
