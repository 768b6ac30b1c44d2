// Advisories and licences of what the package is built from: `npm run audit`.
//
// The advisory database is fetched where the network allows it; without it only licences, sources and
// bans are checked, and this says so.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TOOLS = `${ROOT}target/tools`

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit' })
  return !error && status === 0
}

function must(did, what) {
  if (did) return
  console.error(`${what} failed`)
  process.exit(1)
}

if (!existsSync(`${TOOLS}/bin/cargo-deny`)) {
  must(run('cargo', ['install', 'cargo-deny', '--locked', '--root', TOOLS]), 'the installation of cargo-deny')
}
const deny = (...checks) => run(`${TOOLS}/bin/cargo-deny`, ['check', ...checks])
must(deny('licenses', 'bans', 'sources'), 'the check of licences, bans and sources')
if (run(`${TOOLS}/bin/cargo-deny`, ['fetch', 'db'])) must(deny('advisories'), 'the check of advisories')
else console.log('The advisory database is out of reach: advisories were not checked.')
must(run('npm', ['audit']), 'npm audit')
