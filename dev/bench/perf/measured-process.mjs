// The other side of a measured process.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const SCRIPT = fileURLToPath(new URL('./measured.mjs', import.meta.url))

const alive = new Set()
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

/** Starts a process with these options of Node.js, and resolves once it is ready: `{ ask(command, …args), measure(command, n, instrument), close() }`. */
export async function startMeasured(settings, execArgv) {
  const child = fork(SCRIPT, [], { execArgv: ['--expose-gc', ...execArgv] })
  alive.add(child)
  const exited = once(child, 'exit').then(([code, signal]) => {
    alive.delete(child)
    return { code, signal }
  })
  const who = `${settings.kind ?? 'floors'}, ${settings.definitions.bytes} bytes`
  let requests = 0

  async function request(command, args, instrument) {
    const id = ++requests
    child.send({ id, command, args, instrument })
    const gone = exited.then(({ code, signal }) => Promise.reject(new Error(`${who}: ended (${signal ?? code}) during "${command}"`)))
    const [{ cost, error }] = await Promise.race([once(child, 'message'), gone])
    if (error) throw new Error(`${who}: "${command}" failed: ${error}`)
    return cost
  }

  await request('start', [settings])
  return {
    ask: (command, ...args) => request(command, args),
    measure: (command, n, instrument) => request(command, [n], instrument),
    async close() {
      await request('close', [])
      child.disconnect()
      await exited
    },
  }
}
