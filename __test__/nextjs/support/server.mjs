// A built application as a process of its own.

import { spawn } from 'node:child_process'

import { nextEvent } from '../../../dev/harness/clock.mjs'
import { freePort } from '../../../dev/harness/redis.mjs'

/**
 * Runs the program that serves the application in `folder`, until `t` ends: `{ url, pid, stop() }`, once it is ready. `stop()` is SIGTERM,
 * and resolves when the process has ended.
 */
export async function serve(t, folder, env, args = ['server.js']) {
  const port = await freePort()
  const { POSTHOG_FLAG_CACHE_URL, REDIS_URL, ...inherited } = process.env
  const child = spawn(process.execPath, args, {
    cwd: folder,
    env: { ...inherited, NODE_ENV: 'production', HOSTNAME: '127.0.0.1', PORT: String(port), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = new Promise((resolve) => child.once('close', resolve))
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
  })
  let log = ''
  child.stderr.on('data', (text) => (log += text))
  child.stdout.on('data', (text) => {
    log += text
    if (/Ready in/.test(log)) child.emit('ready')
  })
  await nextEvent(child, 'ready', undefined, { timeoutMs: 60_000, what: `server that is ready: ${log}` })
  const stop = () => {
    child.kill('SIGTERM')
    return ended
  }
  return { url: `http://127.0.0.1:${port}`, pid: child.pid, stop }
}
