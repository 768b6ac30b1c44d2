// Builds the addon as it is published, into target/release-build: `node scripts/build-release.mjs [TARGET] [--cross]`. Without a
// target: for Linux on this machine's processor, linked against an old glibc, so that it loads on every system Node.js itself
// supports. A plain build needs the glibc of the machine it was made on.

import { spawnSync } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { pythonPackages } from './python-packages.mjs'

/** That of RHEL 7; older than what Node.js 20 asks for (2.28). */
export const GLIBC = '2.17'

const ARCHITECTURES = { x64: 'x86_64', arm64: 'aarch64' }
const OUTPUT = 'target/release-build'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What a build without a target makes. */
export const BINARY = join(root, OUTPUT, `posthog-flag-cache.linux-${process.arch}-gnu.node`)

function run(command, args, env = process.env) {
  const { status, error } = spawnSync(command, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) throw new Error(`${command} ${args.slice(0, 3).join(' ')} failed${error ? `: ${error.message}` : ''}`)
}

/** Builds what has changed since the last time. */
export function buildRelease(target = `${ARCHITECTURES[process.arch]}-unknown-linux-gnu.${GLIBC}`, { cross = true } = {}) {
  const napi = [join(root, 'node_modules/@napi-rs/cli/dist/cli.js'), 'build', '--platform', '--release', '--no-js']
  const args = [...napi, '--output-dir', OUTPUT, '--target', target]
  const locked = ['--', '--locked']
  if (!cross) return run(process.execPath, [...args, ...locked])
  const tools = pythonPackages('linker')
  const path = [join(tools, 'bin'), join(tools, 'ziglang'), process.env.PATH].join(delimiter)
  run(process.execPath, [...args, '--cross-compile', ...locked], { ...process.env, PATH: path })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [target] = process.argv.slice(2).filter((argument) => argument !== '--cross')
  buildRelease(target, { cross: !target || process.argv.includes('--cross') })
}
