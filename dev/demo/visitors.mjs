// The demo's second scene: SDKs that cannot use the provider, on both sides. With the cache they poll a relay, without it PostHog.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'

import { CLI, environment } from '../harness/cli.mjs'
import { now, sleep } from '../harness/clock.mjs'
import { VERSION_FLAG } from '../harness/definitions.mjs'
import { installPython, startPython } from '../harness/sdks/python.mjs'
import { installWorkerd, startWorkerd } from '../harness/sdks/workerd.mjs'

const LOOK_MS = 50
const TIMEOUT_MS = 20_000
const USER = ['user-1', { groups: {}, personProperties: {}, groupProperties: {}, onlyEvaluateLocally: true }]

/** Fetches the SDKs once. Returns why that cannot be, or `undefined`. */
export function install() {
  if (spawnSync('python3', ['-m', 'pip', '--version']).status !== 0) return 'there is no python3 with pip'
  try {
    installPython()
    installWorkerd()
  } catch ({ message }) {
    return message
  }
}

/** A relay for the project of `api`, a member of the fleet on the store at `url`: `{ host, close() }`. */
export async function startRelay({ api, url, pollMs }) {
  const args = [CLI, 'relay', '--port', '0', '--refresh-interval-ms', String(pollMs)]
  const env = { ...process.env, ...environment({ url, api }) }
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  process.once('exit', () => child.kill('SIGKILL'))
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`the relay ended with ${code}`)))
  const [line] = await Promise.race([once(child.stdout, 'data'), ended])
  return {
    host: String(line).trim().replace('listening at ', ''),
    async close() {
      child.kill('SIGTERM')
      await once(child, 'exit')
    },
  }
}

/** Two workers in Python and an edge function, which poll `host`. */
export class Visitors {
  all
  #isClosed = false

  static async start({ host, api, pollMs }) {
    const where = { host, api, pollMs }
    const visitors = new Visitors()
    visitors.all = [
      { name: 'Python 1', ...startPython(where) },
      { name: 'Python 2', ...startPython(where) },
      { name: 'edge', ...(await startWorkerd(where)) },
    ].map((visitor) => ({ ...visitor, version: null }))
    process.once('exit', () => visitors.#kill())
    await Promise.all(visitors.all.map(({ ask }) => ask('load')))
    for (const visitor of visitors.all) visitors.#watch(visitor)
    visitors.#visit(visitors.all.at(-1), pollMs)
    await visitors.everyone(api.version)
    return visitors
  }

  /** Resolves once each evaluates `version`, with how long that took. */
  async everyone(version) {
    const from = now()
    while (!this.all.every((visitor) => visitor.version === version)) {
      if (now() - from > TIMEOUT_MS)
        throw new Error(`they evaluate ${this.all.map((visitor) => visitor.version).join(', ')}, not ${version}`)
      await sleep(LOOK_MS)
    }
    return now() - from
  }

  close() {
    this.#isClosed = true
    return this.#kill()
  }

  #kill() {
    return Promise.all(this.all.map(({ close }) => close()))
  }

  /** An edge function has no timers between two requests: it polls when somebody visits it. */
  async #visit({ ask }, pollMs) {
    while (!this.#isClosed) {
      await sleep(pollMs)
      await ask('load').catch(this.#unlessClosed)
    }
  }

  async #watch(visitor) {
    while (!this.#isClosed) {
      const [flags] = await visitor.ask('evaluate', [USER]).catch((error) => this.#unlessClosed(error) ?? [{}])
      visitor.version = flags[VERSION_FLAG] ?? null
      await sleep(LOOK_MS)
    }
  }

  #unlessClosed = (error) => {
    if (!this.#isClosed) throw error
  }
}
