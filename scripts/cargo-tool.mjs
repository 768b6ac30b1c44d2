// Programs in Rust that only some scripts need: installed under target/, once, in the version that was tried.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Where the tool's binary is; it is built with these features in addition to its own. */
export function cargoTool(name, version, features = []) {
  const folder = `${ROOT}target/tools/${name}-${version}`
  if (!existsSync(`${folder}/bin/${name}`)) {
    const args = ['install', `${name}@${version}`, '--locked', '--root', folder, '--target-dir', `${ROOT}target/tools/build`]
    if (features.length > 0) args.push('--features', features.join())
    const { status, error } = spawnSync('cargo', args, { cwd: ROOT, stdio: 'inherit' })
    if (error || status !== 0) throw new Error(`${name} ${version} could not be installed: ${error?.message ?? `status ${status}`}`)
  }
  return `${folder}/bin/${name}`
}
