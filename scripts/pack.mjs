// Packs what is published: the root package, and those of the platforms whose binary is there.
// `node scripts/pack.mjs FOLDER`: from the binaries in npm/, all of them required, into FOLDER.

import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const json = (...path) => JSON.parse(readFileSync(join(...path), 'utf8'))

export const PLATFORMS = readdirSync(join(root, 'npm'))

/** Of no use to who installs the package; `overrides` and `scripts` would even raise questions. */
const NOT_PUBLISHED = ['scripts', 'devDependencies', 'overrides', 'napi']

/**
 * Packs into `folder`; `binaries` has the path of a .node file by platform. Resolves with a list, platforms first, because they
 * must be on the registry before the root is: `{ manifest, tarball, files, integrity, unpackedSize }`; without a binary only
 * `{ manifest }`.
 */
export function pack({ folder, binaries }) {
  mkdirSync(folder, { recursive: true })
  const stage = mkdtempSync(join(tmpdir(), 'flag-cache-pack-'))
  try {
    const manifests = stageAll(stage, binaries)
    return manifests.map(({ dir, manifest, isComplete }) => {
      if (!isComplete) return { manifest }
      const args = ['pack', dir, '--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', folder]
      // Windows starts npm, a .cmd, only through a shell.
      const output = execFileSync('npm', args, { cwd: stage, encoding: 'utf8', shell: process.platform === 'win32' })
      const [{ filename, files, integrity, unpackedSize }] = Object.values(JSON.parse(output))
      return { manifest, tarball: join(folder, filename), files: files.map(({ path }) => path).sort(), integrity, unpackedSize }
    })
  } finally {
    rmSync(stage, { recursive: true })
  }
}

function stageAll(stage, binaries) {
  const manifest = json(root, 'package.json')
  const platforms = PLATFORMS.map((platform) => {
    const dir = join(stage, 'npm', platform)
    cpSync(join(root, 'npm', platform), dir, { recursive: true, filter: (path) => !path.endsWith('.node') })
    for (const file of ['LICENSE', 'THIRD_PARTY_LICENSES']) cpSync(join(root, file), join(dir, file))
    if (binaries[platform]) cpSync(binaries[platform], join(dir, json(dir, 'package.json').main))
    return write(dir, json(dir, 'package.json'), platform in binaries)
  })
  for (const {
    manifest: { name, version },
  } of platforms) {
    if (version !== manifest.version) throw new Error(`${name} has version ${version}, the root ${manifest.version}: npx napi version`)
  }
  for (const file of ['README.md', 'LICENSE', ...manifest.files]) {
    cpSync(join(root, file), join(stage, 'root', file), { recursive: true })
  }
  for (const field of NOT_PUBLISHED) delete manifest[field]
  // Not in the repository: `npm ci` refuses a lock file that lacks them, and npm writes none with names that are not published yet.
  manifest.optionalDependencies = Object.fromEntries(platforms.map(({ manifest: { name } }) => [name, manifest.version]))
  return [...platforms, write(join(stage, 'root'), manifest, true)]
}

function write(dir, manifest, isComplete) {
  // A provenance statement is only accepted for the repository that made it.
  const { GITHUB_SERVER_URL, GITHUB_REPOSITORY } = process.env
  if (GITHUB_REPOSITORY) manifest.repository = { type: 'git', url: `git+${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}.git` }
  writeFileSync(join(dir, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  return { dir, manifest, isComplete }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder] = process.argv.slice(2)
  if (!folder) throw new Error('name the folder for the tarballs')
  const binaryOf = (platform) => join(root, 'npm', platform, json(root, 'npm', platform, 'package.json').main)
  const binaries = Object.fromEntries(PLATFORMS.map((platform) => [platform, binaryOf(platform)]))
  for (const { tarball } of pack({ folder: resolve(folder), binaries })) console.log(basename(tarball))
}
