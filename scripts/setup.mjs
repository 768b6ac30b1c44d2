// Gets a fresh clone ready to run: `node scripts/setup.mjs [--redis] [--openssl] [--chromium] [--release]`. Knows nothing but
// Node's own modules, because it runs before anything is installed. Quick and quiet when all is in place.

import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, readFileSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const onWindows = process.platform === 'win32'

/** What a person has to do something about; anything else that is thrown is a bug of this script. */
class Unready extends Error {}

const say = (text) => console.log(`setup: ${text}`)
const read = (name) => readFileSync(join(root, name), 'utf8')

function modified(name) {
  return statSync(join(root, name), { throwIfNoEntry: false })?.mtimeMs ?? 0
}

function onPath(command) {
  const names = onWindows ? [`${command}.exe`, `${command}.cmd`] : [command]
  const isThere = (file) => {
    try {
      accessSync(file, constants.X_OK)
      return statSync(file).isFile()
    } catch {
      return false
    }
  }
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean)
  return folders.some((folder) => names.some((name) => isThere(join(folder, name))))
}

/** Runs to the end. The exit status, or null where it did not start or was killed. */
function run(command, args, options) {
  // Without a shell Windows cannot start npm, which is a .cmd there.
  return spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], shell: onWindows, ...options })
}

/** Whether `version` (1.2.3) is at least `minimum` (1, 1.2 or 1.2.3). */
function atLeast(version, minimum) {
  const [have, want] = [version, minimum].map((text) => text.split('.').map(Number))
  for (const [index, part] of want.entries()) {
    if (have[index] !== part) return have[index] > part
  }
  return true
}

function checkNode() {
  const { engines } = JSON.parse(read('package.json'))
  const version = process.versions.node
  const fits = engines.node.split('||').some((range) => {
    const [, operator, minimum] = range.trim().match(/^(\^|>=)([\d.]+)$/)
    const sameMajor = version.split('.')[0] === minimum.split('.')[0]
    return atLeast(version, minimum) && (operator === '>=' || sameMajor)
  })
  if (!fits) throw new Unready(`Node.js ${engines.node} is needed, this is ${version}`)
}

function checkRust() {
  const minimum = read('Cargo.toml').match(/^rust-version = "([\d.]+)"/m)[1]
  const hint = `Rust ${minimum} or newer is needed to build the addon`
  const { status, stdout, stderr } = run('cargo', ['--version'], { stdio: 'pipe', encoding: 'utf8' })
  if (status !== 0) {
    const why = onPath('cargo') ? `cargo --version failed: ${stderr?.trim()}` : 'there is no cargo on PATH'
    throw new Unready(`${hint}: ${why}. Install it with rustup (rustup.rs)`)
  }
  const version = stdout.match(/\d+\.\d+\.\d+/)?.[0] ?? '0'
  if (!atLeast(version, minimum)) throw new Unready(`${hint}, this is ${version}. Type: rustup update stable`)
}

function installPackages() {
  // npm writes this file last, so it also tells an installation that was interrupted.
  if (modified('node_modules/.package-lock.json') >= modified('package-lock.json')) return
  say('installing the npm packages')
  // --include=dev: NODE_ENV=production would leave out what builds and tests.
  const { status } = run('npm', ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'])
  if (status !== 0) throw new Unready('npm ci failed')
}

/** Cargo knows best what is stale; its output is shown from the moment it has something to build. */
async function buildAddon(script) {
  const build = spawn('npm', ['run', '--silent', script], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: onWindows,
  })
  // What napi itself says, as against cargo, which writes to stderr.
  let napi = ''
  build.stdout.setEncoding('utf8').on('data', (text) => (napi += text))
  let held = ''
  let isBuilding = false
  build.stderr.setEncoding('utf8').on('data', (text) => {
    held += text
    if (!isBuilding && /^ *(Compiling|Downloading|Blocking)/m.test(held)) {
      isBuilding = true
      say('building the addon (a few minutes at the first time)')
    }
    if (isBuilding) {
      process.stderr.write(held)
      held = ''
    }
  })
  const status = await new Promise((resolve, reject) => {
    build.on('error', reject)
    build.on('close', resolve)
  })
  if (status !== 0) {
    const withoutStack = napi.replace(/^ +at .*\n?/gm, '')
    process.stderr.write(held + withoutStack)
    throw new Unready('the addon did not build')
  }
  if (!isBuilding) say('the addon is up to date')
}

/** What the tests start, by the argument that asks for it: any of `commands`, and the Debian package that brings it. */
const PROGRAMS = {
  '--redis': { commands: ['redis-server'], debian: 'redis-server' },
  '--openssl': { commands: ['openssl'], debian: 'openssl' },
  '--chromium': { commands: ['chromium', 'google-chrome'], debian: 'chromium' },
}

function ensureProgram({ commands, debian }) {
  if (commands.some(onPath)) return
  const [command] = commands
  const hint = `Install it (on Debian and Ubuntu: sudo apt-get install ${debian}), and put it on PATH`
  if (process.getuid?.() !== 0 || !onPath('apt-get')) throw new Unready(`there is no ${command}, which the tests start. ${hint}`)
  say(`installing ${command}`)
  const install = () => aptGet('install', '-y', '--no-install-recommends', debian)
  let outcome = install()
  // A new machine has no package lists, an old one lists what is gone.
  if (outcome.status !== 0 && aptGet('update').status === 0) outcome = install()
  if (outcome.status === 0 && commands.some(onPath)) return
  process.stderr.write(outcome.stdout + outcome.stderr)
  throw new Unready(`apt-get could not install ${command}. ${hint}`)
}

function aptGet(...args) {
  return run('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=300', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
}

try {
  const args = process.argv.slice(2)
  const programs = args.filter((argument) => argument !== '--release')
  const unknown = programs.find((argument) => !Object.hasOwn(PROGRAMS, argument))
  if (unknown) throw new Unready(`unknown argument ${unknown}; allowed: ${Object.keys(PROGRAMS).join(' ')} --release`)
  checkNode()
  checkRust()
  for (const argument of programs) ensureProgram(PROGRAMS[argument])
  installPackages()
  await buildAddon(args.includes('--release') ? 'build' : 'build:quick')
} catch (error) {
  if (!(error instanceof Unready)) throw error
  console.error(`setup: ${error.message}`)
  process.exitCode = 1
}
