// How the commands of the benchmarks begin: their options, what they refuse, and how they tell what they are at.

import { constants } from 'node:os'
import { parseArgs } from 'node:util'

import { now } from '../harness/clock.mjs'
import { oursIsBuilt } from '../harness/providers.mjs'

/** Options that every benchmark has. */
const COMMON = {
  write: { type: 'boolean' },
  json: { type: 'string' },
  from: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
}

/** Ends the process, telling why it cannot do what was asked. */
export function refuse(message) {
  console.error(message)
  process.exit(2)
}

/** The arguments of a benchmark that has these `options` beside the common ones; ends the process for `--help`. */
export function begin(usage, options) {
  const { values } = parseArgs({ options: { ...options, ...COMMON } })
  if (values.help) {
    console.log(usage)
    process.exit(0)
  }
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(128 + constants.signals[signal]))
  const { built, reason } = oursIsBuilt()
  if (!built) refuse(`The package is not built: run "npm run build" first.\n${reason}`)
  return values
}

/** The whole number that was given for this option. */
export function atLeast(args, option, least, usage) {
  const value = Number(args[option])
  return Number.isInteger(value) && value >= least ? value : refuse(`--${option} takes a whole number from ${least}\n${usage}`)
}

const startedAt = now()

/** Tells what is being measured, and since when. */
export function progress(...columns) {
  const seconds = Math.round((now() - startedAt) / 1_000)
  process.stderr.write(`${String(seconds).padStart(4)} s  ${columns.join('  ')}\n`)
}
