// Packages of Debian that only some scripts need.

import { spawnSync } from 'node:child_process'

/** Something that this machine lacks; the message says what to do. */
export class Missing extends Error {}

const run = (command, ...args) => spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
const isInstalled = (name) => / ok installed$/m.test(run('dpkg-query', '--status', name).stdout)

/** Installs those that are missing. */
export function debianPackages(...names) {
  const missing = names.filter((name) => !isInstalled(name))
  if (missing.length === 0) return
  const command = `apt-get install --no-install-recommends ${missing.join(' ')}`
  if (process.getuid() !== 0 || run('apt-get', '--version').error) throw new Missing(`on Debian, run: sudo ${command}`)
  console.log(command)
  const lock = ['-q', '-o', 'DPkg::Lock::Timeout=300']
  // Lists that are not up to date may know only an older compiler.
  const steps = [
    ['update', ...lock],
    ['install', ...lock, '--yes', '--no-install-recommends', ...missing],
  ]
  for (const step of steps) {
    const { status, stdout, stderr } = run('apt-get', ...step)
    if (status !== 0) throw new Missing(`could not install ${missing.join(' ')}: apt-get ${step[0]} failed:\n${stdout}${stderr}`)
  }
}
