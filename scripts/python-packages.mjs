// Programs from PyPI that only some scripts need: fetched under target/, once, each held against the hashes in scripts/requirements/.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** The folder with the packages of `scripts/requirements/NAME.txt`; `platform`: options of pip that name another one than this. */
export function pythonPackages(name, platform = []) {
  const requirements = join(ROOT, `scripts/requirements/${name}.txt`)
  const version = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 12)
  const folder = join(ROOT, `target/tools/${name}-${version}`)
  if (existsSync(folder)) return folder
  const partial = `${folder}.partial`
  rmSync(partial, { recursive: true, force: true })
  mkdirSync(dirname(folder), { recursive: true })
  const hashed = ['--require-hashes', '--only-binary', ':all:', '--no-deps', '--requirement', requirements]
  const args = ['-m', 'pip', 'install', '--quiet', ...platform, ...hashed, '--target', partial]
  const { status, error } = spawnSync('python3', args, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] })
  if (error || status !== 0)
    throw new Error(`the packages of ${requirements} could not be installed: ${error?.message ?? `status ${status}`}`)
  renameSync(partial, folder)
  return folder
}
