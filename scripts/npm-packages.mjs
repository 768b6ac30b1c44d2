// Packages from npm that only some scripts need: installed under target/, once, as the lock file of a folder in __test__/packages/ says.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** The folder with the `node_modules` of `__test__/packages/NAME/`; `options`: further ones of npm. */
export function npmPackages(name, options = []) {
  const requirements = join(ROOT, '__test__/packages', name)
  const version = createHash('sha256')
    .update(readFileSync(join(requirements, 'package-lock.json')))
    .digest('hex')
    .slice(0, 12)
  const folder = join(ROOT, `target/tools/${name}-${version}`)
  if (existsSync(folder)) return folder
  const partial = `${folder}.partial`
  rmSync(partial, { recursive: true, force: true })
  mkdirSync(dirname(folder), { recursive: true })
  cpSync(requirements, partial, { recursive: true })
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...options]
  const { status, error } = spawnSync('npm', args, {
    cwd: partial,
    stdio: ['ignore', 'inherit', 'inherit'],
    shell: process.platform === 'win32',
  })
  if (error || status !== 0)
    throw new Error(`the packages of ${requirements} could not be installed: ${error?.message ?? `status ${status}`}`)
  renameSync(partial, folder)
  return folder
}
