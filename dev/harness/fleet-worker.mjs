// The fleet's side of one worker process: what it reported, and what one may ask of it.

import { fork } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { fileURLToPath } from 'node:url'

import { nextEvent, now } from './clock.mjs'
import { record } from './history.mjs'

const SCRIPT = fileURLToPath(new URL('./worker.mjs', import.meta.url))
const STDERR_KEPT = 8_192

const alive = new Set()
// 'exit' alone: who handles signals decides for itself, and a worker whose parent died ends by itself.
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

/** Emits `loaded`, `started`, `ready`, `version`, `provider-call`, `sick-request`, `error-report` and `exit`. */
export class FleetWorker extends EventEmitter {
  /** Each change of the version that it evaluates: `{ version, at }`, `at` being when the evaluation began. */
  history = []
  /** What posthog-node emitted as `error`: `{ name, message, code, at }`. */
  errors = []
  /** What the cache told its `onError()` listener, in the same form. */
  cacheErrors = []
  /** When it asked PostHog in vain, because it is sick. */
  sickRequests = []
  /** posthog-node's calls of a watched provider, by `dev/harness/watched-provider.mjs`. */
  calls = []
  stderr = ''
  ready = false
  alive = true
  /** Whether a SIGSTOP of ours holds it. */
  stopped = false
  /** When it was stopped: `{ from, to }`. */
  stops = []
  /** How it cannot reach PostHog, by dev/harness/sick-fetch.mjs. */
  sick
  readyAt = null
  readyAfterMs = null

  #requests = new Map()
  #child

  constructor(config) {
    super()
    this.setMaxListeners(0)
    this.id = config.id
    this.sick = config.sick
    const stdio = ['ignore', 'pipe', 'pipe', 'ipc']
    this.#child = fork(SCRIPT, [], {
      stdio,
      serialization: 'advanced',
      execArgv: config.execArgv ?? [],
      env: { ...process.env, ...config.env },
    })
    this.pid = this.#child.pid
    alive.add(this.#child)
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on('data', (chunk) => (this.stderr = (this.stderr + chunk).slice(-STDERR_KEPT)))
    }
    this.#child.on('message', (message) => this.#receive(message))
    this.#child.once('exit', (code, signal) => this.#exited(code, signal))
    this.#child.on('error', () => {})
    this.#child.send(config)
  }

  /** The version it evaluates; null before the first definitions and after PostHog took them away. */
  get version() {
    return this.history.at(-1)?.version ?? null
  }

  begin() {
    this.#child.send('begin')
  }

  /** The version it evaluates now, asked without causing any call. */
  evaluate() {
    return this.ask('evaluate')
  }

  /** `reloadFeatureFlags()`; resolves with the version then evaluated. */
  reload() {
    return this.ask('reload')
  }

  /** `{ id, pid, version, ready, memory, updates, evaluations, provider }`; `provider` is its `status()` where it has one. */
  status() {
    return this.ask('status')
  }

  /** Calls a method of the provider in the worker, and resolves or rejects as that does. */
  call(method, ...args) {
    return this.ask('call', method, ...args)
  }

  /** From then on it cannot reach PostHog, in the way that `kind` of dev/harness/sick-fetch.mjs names. */
  sicken(kind, settings) {
    this.sick = kind
    return this.ask('sicken', kind, settings)
  }

  cure() {
    this.sick = undefined
    return this.ask('cure')
  }

  ask(command, ...args) {
    if (!this.alive) return Promise.reject(new Error(`${this.id} has ended`))
    const request = this.#requests.size + 1 + Math.random()
    return new Promise((resolve, reject) => {
      this.#requests.set(request, { resolve, reject })
      this.#child.send({ request, command, args })
    })
  }

  /**
   * `client.shutdown()`, then the process must end by itself: resolves with `{ code, signal, tookMs }`, and
   * rejects (having killed it) after `timeoutMs`.
   */
  async shutdown({ timeoutMs = 10_000 } = {}) {
    if (!this.alive) return this.ended
    const startedAt = now()
    const exit = this.untilExit({ timeoutMs })
    this.ask('shutdown').catch(() => {})
    try {
      return { ...(await exit), tookMs: now() - startedAt }
    } catch (error) {
      await this.kill('SIGKILL')
      throw new Error(`${this.id} did not end within ${timeoutMs} ms of its shutdown\n${this.stderr}`, { cause: error })
    }
  }

  /** Sends `signal`; for SIGKILL and SIGTERM resolves once the process has ended. */
  async kill(signal = 'SIGKILL') {
    if (!this.alive) return this.ended
    const exit = this.untilExit()
    this.#child.kill(signal)
    return exit
  }

  stop() {
    this.stopped = true
    this.stops.push({ from: now(), to: Infinity })
    this.#child.kill('SIGSTOP')
  }

  continue() {
    this.stopped = false
    this.stops.at(-1).to = now()
    this.#child.kill('SIGCONT')
  }

  untilExit({ timeoutMs } = {}) {
    return this.alive ? nextEvent(this, 'exit', undefined, { timeoutMs, what: `end of ${this.id}` }) : Promise.resolve(this.ended)
  }

  /** Resolves at its first report of that kind; rejects if it ends before. */
  until(event, { timeoutMs } = {}) {
    const arrived = nextEvent(this, event, undefined, { timeoutMs, what: `"${event}" from ${this.id}` })
    const left = new AbortController()
    const gone = new Promise((_, reject) => {
      const listener = () => reject(new Error(`${this.id} ended before "${event}":\n${this.stderr}`))
      this.once('exit', listener)
      left.signal.addEventListener('abort', () => this.off('exit', listener))
    })
    return Promise.race([arrived, gone]).finally(() => {
      left.abort()
      arrived.catch(() => {})
    })
  }

  #receive({ report, request, value, error, ...details }) {
    if (request !== undefined) {
      const { resolve, reject } = this.#requests.get(request) ?? {}
      this.#requests.delete(request)
      return error ? reject?.(Object.assign(new Error(error.message), error)) : resolve?.(value)
    }
    if (report === 'version') {
      record(this.history, details)
    } else if (report === 'provider-call') {
      this.calls.push(details.call)
    } else if (report === 'sick-request') {
      this.sickRequests.push(details.at)
    } else if (report === 'cache-error') {
      this.cacheErrors.push({ ...error, at: now() })
    } else if (report === 'ready') {
      this.ready = true
      this.readyAt = details.at
      this.readyAfterMs = details.tookMs
    } else if (report === 'error' || report === 'failed') {
      this.errors.push({ ...error, at: now() })
      return void this.emit('error-report', error)
    }
    this.emit(report, details)
  }

  #exited(code, signal) {
    alive.delete(this.#child)
    this.alive = false
    this.stopped = false
    this.ended = { code, signal }
    for (const { reject } of this.#requests.values()) reject(new Error(`${this.id} ended (${signal ?? code}) before it answered`))
    this.#requests.clear()
    this.emit('exit', this.ended)
  }
}
