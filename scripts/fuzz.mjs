// Fuzzes what takes bytes from elsewhere, each target for a minute: `npm run fuzz [-- --seconds 600] [target …]`.
//
// It begins with the seeds in fuzz/corpus/, whose names say what each holds, and with the inputs of earlier runs in target/fuzz/.

import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { cargoTool, ROOT } from './cargo-tool.mjs'

const TARGETS = ['snapshot', 'patch', 'options', 'state']

const { values, positionals } = parseArgs({ allowPositionals: true, options: { seconds: { type: 'string', default: '60' } } })
const cargoFuzz = cargoTool('cargo-fuzz', '0.13.2')

for (const target of positionals.length > 0 ? positionals : TARGETS) {
  // libFuzzer writes new inputs to the first directory.
  const [found, seeds] = [`target/fuzz/${target}`, `fuzz/corpus/${target}`]
  mkdirSync(`${ROOT}${found}`, { recursive: true })
  const limits = [`-max_total_time=${values.seconds}`, '-timeout=10', '-rss_limit_mb=4096']
  const args = ['fuzz', 'run', target, found, seeds, '--', ...limits, '-print_final_stats=1']
  // The stable compiler accepts the flags that libFuzzer needs only with this variable.
  const { status, error } = spawnSync(cargoFuzz, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, RUSTC_BOOTSTRAP: '1' } })
  if (error || status !== 0) throw new Error(`the target ${target} failed: ${error?.message ?? `status ${status}`}`)
}
