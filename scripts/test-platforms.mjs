// Tests the platforms that are not this machine's: `node scripts/test-platforms.mjs [--only PART,…]`. It needs Debian, whose packages
// it installs if it runs as root. Elsewhere it says what is missing.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { delimiter } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

import { Missing } from './platforms/debian.mjs'
import { nodeForMusl, nodesForArm64, preload } from './platforms/node.mjs'
import { buildAddon, check, testWithMusl, testWithWine } from './platforms/rust.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
export const TESTS = ['__test__/platforms/package.test.mjs', '__test__/platforms/fleet.test.mjs']
/** An emulator may hang. */
const LIMIT_MS = 20 * 60_000
/** Of `npm run test:node`. */
const TESTS_OF_PROCESSES = ['__test__/process/addon.test.mjs']
/** Modules of tests/it. */
const RUST_TESTS = ['store_contract::', 'redis::', 'directory::', 'provider::']

/** Those of all that need neither Redis nor Unix. */
const RUST_TESTS_ON_WINDOWS = ['windows::', 'in_a_directory', 'in_memory', 'provider::', 'lease::', 'shared::']

/** Each part, and the targets of package.json that it compiles, tests in Rust, or runs. */
export const PARTS = {
  checks: {
    compiles: ['aarch64-apple-darwin', 'x86_64-apple-darwin', 'x86_64-pc-windows-msvc'],
    run() {
      check('aarch64-apple-darwin', 'aarch64-macos')
      // The tests differ between systems, not between processors.
      check('x86_64-apple-darwin', 'x86_64-macos', '--lib')
      // The same code as for the MSVC target, whose C library no registry has.
      check('x86_64-pc-windows-gnu', 'x86_64-windows-gnu')
    },
  },
  arm64: {
    runs: ['aarch64-unknown-linux-gnu'],
    async run() {
      const platform = 'linux-arm64-gnu'
      const binary = buildAddon('aarch64-unknown-linux-gnu', platform, 'aarch64-unknown-linux-gnu.2.17')
      await testNodes(nodesForArm64(), platform, binary)
    },
  },
  musl: {
    runs: ['x86_64-unknown-linux-musl'],
    async run() {
      const [target, platform] = ['x86_64-unknown-linux-musl', 'linux-x64-musl']
      await testNodes([nodeForMusl('x64')], platform, buildAddon(target, platform))
      testWithMusl(target, RUST_TESTS)
    },
  },
  windows: {
    tests: ['x86_64-pc-windows-msvc'],
    run: () => testWithWine(RUST_TESTS_ON_WINDOWS),
  },
  'musl-arm64': {
    runs: ['aarch64-unknown-linux-musl'],
    async run() {
      const [target, platform] = ['aarch64-unknown-linux-musl', 'linux-arm64-musl']
      await testNodes([nodeForMusl('arm64')], platform, buildAddon(target, platform))
    },
  },
}

/** Runs the test files here, whose programs these versions of Node.js run. */
async function testNodes(nodes, platform, binary) {
  const slowness = platform.includes(process.arch) ? 1 : 10
  const programs = { PLATFORM: platform, PLATFORM_NODES: nodes.join(delimiter), PLATFORM_BINARY: binary, PLATFORM_SLOWNESS: slowness }
  const env = { ...process.env, ...programs }
  // The longest first. An emulator keeps one processor busy, so they run at the same time.
  const outcomes = [...TESTS_OF_PROCESSES, ...TESTS].map(async (file) => {
    // Without --test, which would start the files themselves as such programs.
    const args = ['--require', preload('exec-path'), '--test-reporter=spec', file]
    const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'inherit'], timeout: LIMIT_MS })
    const [output, [status]] = await Promise.all([text(child.stdout), once(child, 'close')])
    console.log(`${platform}: ${file}\n${output}`)
    return status === 0 ? [] : [file]
  })
  const failed = (await Promise.all(outcomes)).flat()
  if (failed.length > 0) throw new Error(`${failed.join(' and ')} failed on ${platform}`)
}

async function main() {
  const { only } = parseArgs({ options: { only: { type: 'string' } } }).values
  const chosen = only?.split(',') ?? Object.keys(PARTS)
  const unknown = chosen.find((name) => !Object.hasOwn(PARTS, name))
  if (unknown !== undefined) throw new Error(`unknown part '${unknown}'; allowed: ${Object.keys(PARTS).join(', ')}`)
  const outcomes = []
  for (const name of chosen) {
    const started = Date.now()
    const fault = await faultOf(PARTS[name])
    if (fault) process.exitCode = 1
    outcomes.push(`${name}: ${fault ?? `passed in ${Math.round((Date.now() - started) / 1_000)} s`}`)
  }
  console.log(`\n${outcomes.join('\n')}`)
}

/** Why a part cannot run here, or failed. */
async function faultOf({ run }) {
  try {
    if (process.platform !== 'linux' || process.arch !== 'x64') throw new Missing('it needs Linux on x64')
    await run()
  } catch (error) {
    return error instanceof Missing ? `cannot run here: ${error.message}` : `failed: ${error.stack}`
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main()
