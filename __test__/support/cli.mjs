// The command line as a user runs it: a process of its own.

import { fileURLToPath } from 'node:url'

import { start } from './child.mjs'

export const CLI = fileURLToPath(new URL('../../cli.js', import.meta.url))

/** None of what the user who runs the tests has set. */
const NOTHING = Object.fromEntries(
  ['POSTHOG_PROJECT_KEY', 'POSTHOG_SECRET_KEY', 'POSTHOG_HOST', 'POSTHOG_FLAG_CACHE_PASSWORD', 'POSTHOG_FLAG_CACHE_SENTINEL_PASSWORD', 'NO_COLOR', 'FORCE_COLOR'].map((name) => [name, '']),
)

/** Starts a command; see `start` in `child.mjs`. */
export const startCli = (args, { env, ...options } = {}) => start(process.execPath, [CLI, ...args], { env: { ...NOTHING, ...env }, ...options })

/** Runs it to its end: `{ code, signal, stdout, stderr }`. */
export const cli = (args, options) => startCli(args, options).ended

/** The same, at a terminal on which `input` is typed after `prompt` was shown: what the terminal shows is `stdout`. */
export function cliAtTerminal(args, { prompt, input, env, ...options } = {}) {
  const line = [process.execPath, CLI, ...args].map((part) => `'${part}'`).join(' ')
  const { child, ended } = start('script', ['-qec', line, '/dev/null'], { env: { ...NOTHING, TERM: 'xterm', ...env }, stdin: 'pipe', ...options })
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

/** What a command needs to know of a store, a project and a stand-in for PostHog, as environment variables. */
export const environment = ({ url, projectKey, api }) => ({
  POSTHOG_FLAG_CACHE_URL: url,
  POSTHOG_PROJECT_KEY: projectKey ?? api?.projectKey,
  ...(api && { POSTHOG_SECRET_KEY: api.secretKey, POSTHOG_HOST: api.url }),
})
