// Builds the addon for Linux as it is published: optimised, and linked against an old glibc, so that it loads on
// every system Node.js itself supports. A plain build needs the glibc of the machine it was made on.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** That of RHEL 7; older than what Node.js 20 asks for (2.28). */
export const GLIBC = '2.17'

const TOOLS = { ziglang: '0.17.1', 'cargo-zigbuild': '0.24.0' }
const ARCHITECTURES = { x64: 'x86_64', arm64: 'aarch64' }

const root = fileURLToPath(new URL('..', import.meta.url))
const tools = join(root, 'target/tools/python')

/** The published binary of this machine's processor, once it is built. */
export const BINARY = join(root, `target/portable/posthog-flag-cache.linux-${process.arch}-gnu.node`)

function run(command, args, options) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options })
  if (status !== 0) throw new Error(`${command} ${args[0]} failed${error ? `: ${error.message}` : ''}`)
}

/** Builds where anything has changed since the last time; returns the path of the binary. */
export function buildPortable() {
  if (process.platform !== 'linux') throw new Error('only Linux has a glibc to be portable across')
  const zigbuild = join(tools, 'bin/cargo-zigbuild')
  if (!existsSync(zigbuild)) {
    const packages = Object.entries(TOOLS).map(([name, version]) => `${name}==${version}`)
    run('python3', ['-m', 'pip', 'install', '--quiet', '--root-user-action=ignore', '--upgrade', '--target', tools, ...packages])
  }
  const path = [join(tools, 'bin'), join(tools, 'ziglang'), process.env.PATH].join(delimiter)
  const target = `${ARCHITECTURES[process.arch]}-unknown-linux-gnu.${GLIBC}`
  const build = ['--platform', '--release', '--cross-compile', '--target', target, '--no-js', '--output-dir', 'target/portable']
  run('npx', ['--no-install', 'napi', 'build', ...build], { env: { ...process.env, PATH: path } })
  return BINARY
}

if (process.argv[1] === fileURLToPath(import.meta.url)) buildPortable()
