// Licences, sources and advisories of what the package is built from: `npm run audit [-- --online]`.
//
// Licences, bans and sources of the crates need no network. Advisories do: the end says which could not be looked up, and with
// `--online` that is a failure.

import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'

import { cargoTool, ROOT } from './cargo-tool.mjs'

const { values } = parseArgs({ options: { online: { type: 'boolean', default: false } } })
const cargoDeny = cargoTool('cargo-deny', '0.20.2')
const failed = []
const unchecked = []

function run(command, args, stdio = 'inherit') {
  const result = spawnSync(command, args, { cwd: ROOT, stdio, encoding: 'utf8', shell: process.platform === 'win32' })
  if (result.error) throw result.error
  return result
}

function deny(what, ...args) {
  if (run(cargoDeny, args).status !== 0) failed.push(what)
}

deny('licences, bans and sources of the crates', 'check', 'licenses', 'bans', 'sources')

const fetched = run(cargoDeny, ['fetch', 'db'], 'pipe')
if (fetched.status === 0) deny('advisories of the crates', 'check', 'advisories')
else unchecked.push(['advisories of the crates', fetched.stderr.trim()])

// Its status is the same where it finds something and where it finds nobody to ask.
const npm = JSON.parse(run('npm', ['audit', '--json'], 'pipe').stdout)
if (!npm.metadata) unchecked.push(['advisories of the npm packages', npm.message])
else if (npm.metadata.vulnerabilities.total > 0) {
  run('npm', ['audit'])
  failed.push('advisories of the npm packages')
}

for (const [what, why] of unchecked)
  console.log(`NOT CHECKED: ${what}, because they could not be fetched:\n  ${why.replaceAll('\n', '\n  ')}`)
for (const what of failed) console.log(`FAILED: ${what}`)
if (failed.length + unchecked.length === 0) console.log('All was checked.')
process.exitCode = failed.length > 0 || (values.online && unchecked.length > 0) ? 1 : 0
