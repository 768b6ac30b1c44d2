// The command line as a user runs it: a process of its own.

import { spawnSync } from 'node:child_process'

import { CLI, environment } from '../../dev/harness/cli.mjs'
import { start } from './child.mjs'

export { CLI, environment }

/** None of what the user who runs the tests has set. */
const NOTHING = Object.fromEntries(
  [
    'POSTHOG_PROJECT_KEY',
    'POSTHOG_SECRET_KEY',
    'POSTHOG_HOST',
    'POSTHOG_FLAG_CACHE_PASSWORD',
    'POSTHOG_FLAG_CACHE_SENTINEL_PASSWORD',
    'NO_COLOR',
    'FORCE_COLOR',
  ].map((name) => [name, '']),
)

/** Starts a command; see `start` in `child.mjs`. */
export const startCli = (args, { env, ...options } = {}) =>
  start(process.execPath, [CLI, ...args], { env: { ...NOTHING, ...env }, ...options })

/** Starts it with its standard output in a file, after the commands of `before` in the same shell. */
export const startCliInto = (file, args, { env, before = '', ...options } = {}) =>
  start('sh', ['-c', `${before}\nexec "$@" > "$0"`, file, process.execPath, CLI, ...args], { env: { ...NOTHING, ...env }, ...options })

/** Runs it to its end: `{ code, signal, stdout, stderr }`. */
export const cli = (args, options) => startCli(args, options).ended

/** For tests at a terminal: script(1) makes one, but takes other options elsewhere. */
export const terminal = {
  skip: (process.platform !== 'linux' || spawnSync('script', ['--version']).status !== 0) && 'there is no script(1) of Linux',
}

/** Starts it at a terminal, of so many `rows`, which is its standard input and both of its outputs. */
export function startCliAtTerminal(args, { env, rows, ...options } = {}) {
  const line = [process.execPath, CLI, ...args].map((part) => `'${part}'`).join(' ')
  const size = rows ? `stty rows ${rows} columns 100; ` : ''
  // exec: a shell that stays would be ended by the Ctrl-C that it shares with the command, and tell its own exit code.
  return start('script', ['-qec', `${size}exec ${line}`, '/dev/null'], {
    env: { ...NOTHING, TERM: 'xterm', ...env },
    stdin: 'pipe',
    ...options,
  })
}

/** Runs it there to its end; `input` is typed once `prompt` is shown. What the terminal shows is `stdout`. */
export function cliAtTerminal(args, { prompt, input, ...options } = {}) {
  const { child, ended } = startCliAtTerminal(args, options)
  let shown = ''
  child.stdout.on('data', (text) => {
    shown += text
    if (prompt && shown.includes(prompt)) {
      prompt = undefined
      child.stdin.write(input)
    }
  })
  return ended
}
