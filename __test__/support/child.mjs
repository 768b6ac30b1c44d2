// A process of its own, for what a test cannot do to the one it runs in.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** How much more time a program takes where an emulator runs it. */
const SLOWNESS = Number(process.env.PLATFORM_SLOWNESS ?? 1)
const living = new Set()
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL')
})

/** Runs `source`, the text of a CommonJS module beside which the package is installed; see `start`. */
export const startNode = (source, { execArgv = [], ...options } = {}) =>
  start(process.execPath, [...execArgv, '--input-type=commonjs', '-e', source], options)

/**
 * Runs a program.
 *
 * `{ child, line(), ended }`: `line()` resolves with the next line on its standard output; `ended` with
 * `{ code, signal, stdout, stderr }`, and rejects, the process killed, if it does not end within `timeoutMs`.
 */
export function start(program, args, { env = {}, timeoutMs = 20_000, stdin = 'ignore' } = {}) {
  const { POSTHOG_FLAG_CACHE_URL, REDIS_URL, NODE_OPTIONS, ...inherited } = process.env
  const child = spawn(program, args, {
    cwd: ROOT,
    env: { ...inherited, ...env },
    stdio: [stdin, 'pipe', 'pipe'],
  })
  living.add(child)
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text))
  const ended = new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`the process did not end within ${timeoutMs * SLOWNESS} ms; it wrote:\n${stdout}${stderr}`))
    }, timeoutMs * SLOWNESS)
    child.once('error', reject)
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      living.delete(child)
      resolve({ code, signal, stdout, stderr })
    })
  })
  let read = 0
  const line = async () => {
    for (;;) {
      const end = stdout.indexOf('\n', read)
      if (end >= 0) {
        const text = stdout.slice(read, end)
        read = end + 1
        return text
      }
      const more = new Promise((resolve) => child.stdout.once('data', () => resolve(true)))
      if (!(await Promise.race([more, ended.then(() => false)])) && stdout.indexOf('\n', read) < 0) {
        throw new Error(`the process ended before its next line:\n${stderr}`)
      }
    }
  }
  return { child, line, ended }
}

/** Runs `source` to its end. */
export const runNode = (source, options) => startNode(source, options).ended
