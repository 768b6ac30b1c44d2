// A fleet of real posthog-node processes against a stand-in for PostHog.

import { EventEmitter } from 'node:events'

import { nextEvent, now } from './clock.mjs'
import { FleetWorker } from './fleet-worker.mjs'

/**
 * Emits `change` (with the worker) whenever a worker starts, reports, or ends, and `begin` when workers that
 * start together do so.
 *
 * Options: `api` (a PostHogApi), `kind` of the provider ('none', 'posthog-flag-cache', or a peer's), its
 * `options`, `pollingIntervalMs`, `sharedEtag`, `push`, `watch` (tell of each call of the provider),
 * `evaluateEveryMs`, `evaluateUnready` (before there are flags too), `onError` (listen to it); for each worker further
 * `clients` (how many, by default one), `sick` and `sickSettings` (of dev/harness/sick-fetch.mjs), `posthogOptions`,
 * `posthogNode` (another version's entry file), `secretKey` (null: a reader), `env`, `execArgv`, `shutdownTimeoutMs`. `start` and `deploy` take the same to override them for the workers they start.
 */
export class Fleet extends EventEmitter {
  /** Every worker ever started. */
  all = []
  #config

  constructor({ api, kind = 'none', options = {}, pollingIntervalMs = 500, ...rest }) {
    super()
    this.setMaxListeners(0)
    this.api = api
    const { projectKey, secretKey, url: host } = api
    this.#config = { projectKey, secretKey, host, kind, options, pollingIntervalMs, ...rest }
  }

  /** The workers that live, stopped ones included. */
  get workers() {
    return this.all.filter((worker) => worker.alive)
  }

  /** What posthog-node reported in any of them. */
  get errors() {
    return this.all.flatMap((worker) => worker.errors.map((error) => ({ worker: worker.id, ...error })))
  }

  /** The worker with that id, as `api.calls` names it. */
  worker(id) {
    return this.all.find((worker) => worker.id === id)
  }

  /** The worker that called PostHog last, while it lives. */
  get leader() {
    const id = this.api.calls.findLast((call) => call.worker !== null)?.worker
    return this.workers.find((worker) => worker.id === id)
  }

  /**
   * Starts `n` workers and resolves with them once each evaluates flags (`untilReady: false`: once their
   * clients exist). `together`: all load their code first, then `whenLoaded` is awaited, and then they begin at the same moment.
   */
  async start(n = 1, { together = false, whenLoaded, untilReady = true, timeoutMs = 30_000, ...overrides } = {}) {
    const workers = Array.from({ length: n }, () => this.#fork({ ...overrides, together }))
    const loaded = together && workers.map((worker) => worker.until('loaded', { timeoutMs }))
    const begun = workers.map((worker) => worker.until(untilReady ? 'ready' : 'started', { timeoutMs }))
    for (const promise of begun) promise.catch(() => {})
    if (together) {
      await Promise.all(loaded)
      await whenLoaded?.()
      this.emit('begin')
      for (const worker of workers) worker.begin()
    }
    await Promise.all(begun)
    return workers
  }

  /**
   * Resolves when every live worker that is not stopped evaluates `version`: `{ at, tookMs, spreadMs }`, `at`
   * being when the last one came to it, `spreadMs` how long after the first.
   */
  async everyone({ version, timeoutMs = 10_000 }) {
    const startedAt = now()
    const reached = () => this.#awake().every((worker) => worker.version === version)
    if (!reached()) {
      await nextEvent(this, 'change', reached, { timeoutMs, what: `agreement on ${version}` }).catch((error) => {
        throw new Error(`${error.message}; they evaluate ${this.describe()}`)
      })
    }
    const reachedAt = this.#awake().map((worker) => worker.history.at(-1)?.at ?? 0)
    const at = Math.max(startedAt, ...reachedAt)
    return { at, tookMs: at - startedAt, spreadMs: Math.max(...reachedAt) - Math.min(...reachedAt) }
  }

  /** Resolves with the first live worker that evaluates `version`. */
  async someone({ version, timeoutMs = 10_000 }) {
    const found = () => this.workers.find((worker) => worker.version === version)
    if (!found()) await nextEvent(this, 'change', found, { timeoutMs, what: `worker that evaluates ${version}` })
    return found()
  }

  /** Which version each live worker evaluates, in a line. */
  describe() {
    return this.workers.map((worker) => `${worker.id}=${worker.version}${worker.stopped ? ' (stopped)' : ''}`).join(' ')
  }

  kill(worker, signal = 'SIGKILL') {
    return worker.kill(signal)
  }

  stop(worker) {
    worker.stop()
    this.emit('change', worker)
  }

  continue(worker) {
    worker.continue()
    this.emit('change', worker)
  }

  /**
   * Replaces every live worker, one by one: the new one is ready, then the old one shuts down. `pace` is
   * awaited before each. Resolves with the new workers.
   */
  async deploy({ pace = async () => {}, ...overrides } = {}) {
    const fresh = []
    for (const old of this.workers) {
      await pace(old)
      if (!old.alive) continue
      fresh.push(...(await this.start(1, { slot: old.slot, ...overrides })))
      await old.shutdown()
    }
    return fresh
  }

  /** Shuts every worker down; what does not end in time is killed, and reported by rejecting. */
  async shutdown({ timeoutMs = 10_000 } = {}) {
    for (const worker of this.workers.filter((worker) => worker.stopped)) worker.continue()
    const results = await Promise.allSettled(this.workers.map((worker) => worker.shutdown({ timeoutMs })))
    const failed = results.find(({ status }) => status === 'rejected')
    if (failed) throw failed.reason
  }

  /** Ends every worker at once, with SIGKILL: for the end of a test, whatever state it left. */
  async destroy() {
    await Promise.all(this.workers.map((worker) => worker.kill('SIGKILL')))
  }

  #awake() {
    return this.workers.filter((worker) => !worker.stopped)
  }

  #fork({ slot = this.#freeSlot(), ...overrides }) {
    const worker = new FleetWorker({ ...this.#config, ...overrides, id: `w${this.all.length + 1}` })
    worker.slot = slot
    for (const event of ['started', 'ready', 'version', 'provider-call', 'sick-request', 'cache-error', 'error-report', 'exit']) {
      worker.on(event, () => this.emit('change', worker))
    }
    this.all.push(worker)
    return worker
  }

  // A slot is the place of a process in the fleet: a replacement takes the place of the one it replaces.
  #freeSlot() {
    const taken = new Set(this.workers.map((worker) => worker.slot))
    let slot = 0
    while (taken.has(slot)) slot += 1
    return slot
  }
}
