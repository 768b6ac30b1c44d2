// Fuzzes what takes bytes from elsewhere, each target for a minute: `npm run fuzz [-- --seconds 600] [target …]`.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TOOLS = `${ROOT}target/tools`
const TARGETS = ['snapshot', 'patch', 'options', 'state']

const { values, positionals } = parseArgs({ allowPositionals: true, options: { seconds: { type: 'string', default: '60' } } })

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...env } })
  if (error || status !== 0) {
    console.error(`${command} ${args.join(' ')}: ${error?.message ?? `status ${status}`}`)
    process.exit(1)
  }
}

if (!existsSync(`${TOOLS}/bin/cargo-fuzz`)) run('cargo', ['install', 'cargo-fuzz', '--locked', '--root', TOOLS])
// libFuzzer needs flags of the compiler that its stable version only takes so.
const env = { RUSTC_BOOTSTRAP: '1' }
for (const target of positionals.length > 0 ? positionals : TARGETS) {
  const limits = [`-max_total_time=${values.seconds}`, '-timeout=10', '-rss_limit_mb=4096', '-print_final_stats=1']
  run(`${TOOLS}/bin/cargo-fuzz`, ['fuzz', 'run', target, '--', ...limits], env)
}
