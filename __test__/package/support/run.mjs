// Runs a program to its end, however it ends, within a time limit.

import { spawn } from 'node:child_process'

const living = new Set()
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL')
})

/** Resolves with its standard output; rejects with everything it wrote if it fails, or does not end within `timeoutMs`. */
export function run(command, args, { cwd, env, timeoutMs = 240_000 }) {
  const { POSTHOG_FLAG_CACHE_URL, REDIS_URL, NODE_OPTIONS, ...inherited } = process.env
  // npm tells its scripts the settings it has: those of the repository are none of a consumer's.
  const own = Object.fromEntries(Object.entries(inherited).filter(([name]) => !/^npm_/i.test(name)))
  // Windows starts npm, a .cmd, only through a shell.
  const shell = command === 'npm' && process.platform === 'win32'
  const child = spawn(command, args, { cwd, env: { ...own, ...env }, stdio: ['ignore', 'pipe', 'pipe'], shell })
  living.add(child)
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text))
  return new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${command} ${args.join(' ')} ${why}:\n${stdout}${stderr}`))
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      fail(`did not end within ${timeoutMs} ms`)
    }, timeoutMs)
    child.once('error', reject)
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      living.delete(child)
      if (code === 0) resolve(stdout)
      else fail(`ended with ${code ?? signal}`)
    })
  })
}
