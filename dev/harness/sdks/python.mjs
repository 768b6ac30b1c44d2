// A client of posthog-python in a process of its own.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

import { pythonPackages } from '../../../scripts/python-packages.mjs'

const PROGRAM = fileURLToPath(new URL('client.py', import.meta.url))

/** Fetches posthog-python once; throws where there is no Python with pip. */
export const installPython = () => pythonPackages('sdks', ['--platform', 'any'])

/** It polls `host` by itself: `{ ask(command, argument), close() }`. */
export function startPython({ host, api, pollMs }) {
  const args = [PROGRAM, host, api.projectKey, api.secretKey, String(pollMs / 1000)]
  const env = { ...process.env, PYTHONPATH: installPython() }
  const child = spawn('python3', args, { stdio: ['pipe', 'pipe', 'inherit'], env })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    async ask(...command) {
      child.stdin.write(`${JSON.stringify(command)}\n`)
      const { value, done } = await lines.next()
      if (done) throw new Error('posthog-python has ended')
      return JSON.parse(value)
    },
    close: () => child.kill('SIGKILL'),
  }
}
