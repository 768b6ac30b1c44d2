// Fuzzes what takes bytes from elsewhere, each target for a minute: `npm run fuzz [-- --seconds 600] [--keep] [target …]`.
//
// It begins with fuzz/corpus/ and what earlier runs found, which is under target/. With `--keep` the corpus becomes the fewest of
// these inputs that reach all the code that all of them reach.

import { spawnSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { cargoTool, ROOT } from './cargo-tool.mjs'

const TARGETS = ['snapshot', 'patch', 'options', 'state']

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' }, keep: { type: 'boolean', default: false } },
})
const cargoFuzz = cargoTool('cargo-fuzz', '0.13.2')

/** Runs libFuzzer on this target: what it finds goes into the first of the directories. */
function fuzz(target, directories, ...options) {
  for (const directory of directories) mkdirSync(`${ROOT}${directory}`, { recursive: true })
  const args = ['fuzz', 'run', target, ...directories, '--', '-timeout=10', '-rss_limit_mb=4096', ...options]
  // libFuzzer needs flags of the compiler that its stable version only takes so.
  const { status, error } = spawnSync(cargoFuzz, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, RUSTC_BOOTSTRAP: '1' } })
  if (error || status !== 0) throw new Error(`the target ${target} failed: ${error?.message ?? `status ${status}`}`)
}

for (const target of positionals.length > 0 ? positionals : TARGETS) {
  const [kept, found, fewest] = [`fuzz/corpus/${target}`, `target/fuzz/${target}`, `target/fuzz/${target}.fewest`]
  fuzz(target, [found, kept], `-max_total_time=${values.seconds}`, '-print_final_stats=1')
  if (!values.keep) continue
  rmSync(`${ROOT}${fewest}`, { recursive: true, force: true })
  // How often a branch is taken does not count: ten times as many inputs differ in nothing else.
  fuzz(target, [fewest, found, kept], '-set_cover_merge=1', '-use_counters=0')
  rmSync(`${ROOT}${kept}`, { recursive: true })
  renameSync(`${ROOT}${fewest}`, `${ROOT}${kept}`)
}
