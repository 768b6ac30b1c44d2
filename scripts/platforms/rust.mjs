// Rust for targets other than this machine's: rustup's standard library where it is installed, else Debian's compiler, which builds
// the standard library from its source.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { pythonPackages } from '../python-packages.mjs'
import { debianPackages, Missing } from './debian.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const OUTPUT = join(ROOT, 'target/platforms')

/** Whether the compiler on PATH has the standard library of this target. */
function hasLibrary(target) {
  const { status, stdout } = spawnSync('rustc', ['--print', 'target-libdir', '--target', target], { encoding: 'utf8' })
  return status === 0 && existsSync(stdout.trim())
}

/** The environment and the arguments with which cargo compiles for this target. */
function compiler(target) {
  const linker = pythonPackages('linker')
  const path = [join(linker, 'bin'), join(linker, 'ziglang'), process.env.PATH]
  const env = { ...process.env, CARGO_TARGET_DIR: OUTPUT }
  if (hasLibrary(target)) return { env: { ...env, PATH: path.join(delimiter) }, args: [] }
  try {
    debianPackages('cargo-web', 'rust-web-clippy', 'rust-web-src')
  } catch (error) {
    if (!(error instanceof Missing)) throw error
    throw new Missing(`there is no standard library for ${target}. Run: rustup target add ${target}; or ${error.message}`)
  }
  // Before rustup's, whose compiler takes no source but its own.
  path.unshift('/usr/bin')
  return { env: { ...env, PATH: path.join(delimiter), RUSTC_BOOTSTRAP: '1' }, args: ['-Zbuild-std=std,panic_unwind,test'] }
}

function run(command, args, env) {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, env, stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) throw new Error(`${command} ${args.slice(0, 4).join(' ')} failed${error ? `: ${error.message}` : ''}`)
}

const variable = (target) => target.replaceAll('-', '_')

/** Libraries that napi-rs and GCC name on Windows: empty, because the addon looks for Node.js when it is loaded. */
function emptyLibraries() {
  const folder = join(OUTPUT, 'libraries')
  mkdirSync(folder, { recursive: true })
  for (const name of ['libnode.a', 'libssp_nonshared.a']) writeFileSync(join(folder, name), '!<arch>\n')
  writeFileSync(join(folder, 'libnode.dll'), '')
  return folder
}

/** Compiles everything, or `only` a part, without linking it, with clippy's rules; zig has its own name for the target. */
export function check(target, zigTarget, only = '--all-targets') {
  const { env, args } = compiler(target)
  if (target.endsWith('-windows-gnu')) debianPackages('binutils-mingw-w64-x86-64')
  const tools = { CC: `zig cc -target ${zigTarget}`, CXX: `zig c++ -target ${zigTarget}`, AR: 'zig ar' }
  for (const [name, tool] of Object.entries(tools)) env[`${name}_${variable(target)}`] = tool
  // The names of targets that crates give to a compiler are not zig's.
  env.CRATE_CC_NO_DEFAULTS = '1'
  env.LIBNODE_PATH = emptyLibraries()
  // Cargo generates code for the standard library even where nothing runs it.
  const quickly = args.length > 0 ? ['core', 'alloc', 'std', 'test', 'gimli', 'object'] : []
  const settings = quickly.flatMap((name) => ['--config', `profile.quick.package.${name}.opt-level=0`])
  run('cargo-clippy', ['clippy', ...options(target, args), ...settings, only, '--', '--deny', 'warnings'], env)
}

const options = (target, args) => ['--profile', 'quick', '--locked', '--target', target, ...args]

/** Builds the addon; the path of the .node file, which lies where the loader of this repository finds it. */
export function buildAddon(target, platform, abi = target) {
  const { env, args } = compiler(target)
  const cli = join(ROOT, 'node_modules/@napi-rs/cli/dist/cli.js')
  const napi = ['build', '--platform', '--profile', 'quick', '--no-js', '--dts', 'target/platforms/native.d.ts', '--cross-compile']
  run(process.execPath, [cli, ...napi, '--target', abi, '--', '--locked', ...args], env)
  return join(ROOT, `posthog-flag-cache.${platform}.node`)
}

/** Runs modules of tests/it, built for musl. */
export function testWithMusl(target, modules) {
  const { env, args } = compiler(target)
  // As for the addon, so that nothing is built twice; zig links a musl of its own into the tests.
  env[`CARGO_TARGET_${variable(target).toUpperCase()}_RUSTFLAGS`] = '-C target-feature=-crt-static'
  run('cargo-zigbuild', ['test', ...options(target, args), '--test', 'it', '--', ...modules], env)
}

/** A function of Windows that Rust needs, and that Debian's Wine lacks. */
const RANDOM = `
  unsigned char __stdcall SystemFunction036(void *, unsigned long);
  __declspec(dllexport) int __stdcall ProcessPrng(void *bytes, unsigned long long length) { return SystemFunction036(bytes, length); }
`

/** Runs tests of tests/it, built for Windows, in Wine. */
export function testWithWine(tests) {
  const target = 'x86_64-pc-windows-gnu'
  const { env, args } = compiler(target)
  debianPackages('binutils-mingw-w64-x86-64', 'wine64')
  env.LIBNODE_PATH = emptyLibraries()
  const library = join(OUTPUT, 'wine-libraries')
  mkdirSync(library, { recursive: true })
  writeFileSync(join(library, 'random.c'), RANDOM)
  const dll = join(library, 'bcryptprimitives.dll')
  run('zig', ['cc', '-target', 'x86_64-windows-gnu', '-shared', '-o', dll, join(library, 'random.c'), '-ladvapi32'], env)
  Object.assign(env, { WINEPREFIX: join(OUTPUT, 'wine'), WINEPATH: library, WINEDEBUG: '-all', WINEDLLOVERRIDES: 'mscoree=;mshtml=' })
  env[`CARGO_TARGET_${variable(target).toUpperCase()}_RUNNER`] = '/usr/lib/wine/wine64'
  run('cargo-zigbuild', ['test', ...options(target, args), '--test', 'it', '--', ...tests], env)
}
