// A TCP proxy on 127.0.0.1 that does to connections what networks, load balancers and hosts do.

import { EventEmitter, once } from 'node:events'
import { connect, createServer } from 'node:net'

import { now, sleep } from './clock.mjs'

/**
 * A fault says what becomes of the connections that are `open`, of those that are made (`accept`), and of each piece of
 * data (`shape`); what it does not mention stays healthy.
 *
 * `open`: 'end' (FIN), 'reset' (RST), or 'hush': nothing more arrives, and neither side hears of it.
 * `accept`: 'refuse' (nobody listens), 'reset', or 'hush'.
 * `shape`: `(piece, link, direction) => async iterable of pieces`; the direction is 'up' to the server or 'down' from it.
 */
export const NETWORK = {
  refused: { open: 'reset', accept: 'refuse' },
  reset: { open: 'reset', accept: 'reset' },
  blackHole: { open: 'hush', accept: 'hush' },
  halfOpen: { open: 'hush' },
  killed: { open: 'end' },
  trickle: { shape: byByte },
  slow: (ms) => ({ shape: (piece) => late(piece, ms) }),
  narrow: (bytesPerSecond) => ({ shape: (piece) => metered(piece, bytesPerSecond) }),
  /** All connections together get this rate in each direction, in turn. */
  shared: (bytesPerSecond) => ({ shape: sharing(bytesPerSecond) }),
  /** The server lacks RESP3: whoever asks for it is answered with RESP2. */
  resp2: { shape: downgraded },
  /** Each connection breaks once `bytes` have passed in that direction. */
  cut: (direction, bytes) => ({ shape: cutter(direction, bytes) }),
}

const TRICKLE_BYTES_PER_SECOND = 20_000

/** What a connection passes on a shared link before it is another one's turn. */
const SHARED_BYTES = 8_192

/** Starts a proxy to `targetPort` on this host: a `FaultProxy`. */
export async function startFaultProxy(targetPort) {
  const proxy = new FaultProxy(targetPort)
  await proxy.listen()
  return proxy
}

/** Emits `attempt` whenever somebody connects. */
export class FaultProxy extends EventEmitter {
  /** When each connection was made, in `now()`'s milliseconds. */
  attempts = []
  #targetPort
  #port = 0
  #server
  #fault = {}
  #links = new Set()

  constructor(targetPort) {
    super()
    this.#targetPort = targetPort
  }

  get url() {
    return `redis://127.0.0.1:${this.#port}`
  }

  /** How many connections clients hold open. */
  get open() {
    return this.#links.size
  }

  listen() {
    this.#server = createServer((near) => this.#accept(near))
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.#port, '127.0.0.1', () => {
        this.#port = this.#server.address().port
        resolve()
      })
    })
  }

  /** From now on, until `heal()`. */
  async break(fault) {
    this.#fault = fault
    for (const link of this.#links) link.suffer(fault.open)
    if (fault.accept === 'refuse') await this.#deaf()
  }

  /** What went silent stays so: the packets are lost. */
  async heal() {
    const { accept } = this.#fault
    this.#fault = {}
    if (accept === 'refuse') await this.listen()
  }

  async close() {
    for (const link of this.#links) link.suffer('reset')
    await this.#deaf()
  }

  #deaf() {
    return new Promise((resolve) => this.#server.close(resolve))
  }

  #accept(near) {
    this.attempts.push(now())
    const { accept } = this.#fault
    if (accept === 'reset') near.on('error', () => {}).resetAndDestroy()
    else this.#open(near, accept)
    this.emit('attempt')
  }

  #open(near, fate) {
    const link = new Link(near, this.#targetPort, () => this.#fault.shape)
    this.#links.add(link)
    near.once('close', () => this.#links.delete(link))
    link.suffer(fate)
  }
}

/** One client's connection, and ours to the server on its behalf. */
class Link {
  /** How many bytes have passed since a fault began to count them. */
  passed = 0
  #near
  #far
  #hushed = false

  constructor(near, port, shape) {
    this.#near = near.setNoDelay(true)
    this.#far = connect({ port, host: '127.0.0.1', noDelay: true })
    for (const socket of [this.#near, this.#far]) socket.on('error', () => {})
    this.#near.once('close', () => this.#far.destroy())
    this.#far.once('close', () => this.#hushed || this.#near.destroy())
    this.#pump(this.#near, this.#far, 'up', shape)
    this.#pump(this.#far, this.#near, 'down', shape)
  }

  suffer(fate) {
    if (fate === 'end') this.#near.end()
    else if (fate === 'reset') this.break()
    else if (fate === 'hush') this.#hushed = true
  }

  break() {
    this.#near.resetAndDestroy()
  }

  async #pump(from, to, direction, shape) {
    try {
      for await (const piece of from) {
        for await (const part of shape()?.(piece, this, direction) ?? [piece]) {
          if (!this.#hushed && !to.write(part)) await once(to, 'drain')
        }
      }
      if (!this.#hushed) to.end()
    } catch {
      if (!this.#hushed) to.destroy()
    }
  }
}

/** On a busy machine too: what is late is sent at once, still byte by byte. */
async function* byByte(piece) {
  const startedAt = now()
  for (let at = 0; at < piece.length; at += 1) {
    yield piece.subarray(at, at + 1)
    while (now() - startedAt < (at / TRICKLE_BYTES_PER_SECOND) * 1_000) await new Promise(setImmediate)
  }
}

async function* late(piece, ms) {
  await sleep(ms)
  yield piece
}

async function* metered(piece, bytesPerSecond) {
  const size = Math.max(1, Math.floor(bytesPerSecond / 50))
  for (let at = 0; at < piece.length; at += size) {
    await sleep(20)
    yield piece.subarray(at, at + size)
  }
}

function sharing(bytesPerSecond) {
  const freeAt = { up: 0, down: 0 }
  return async function* (piece, _link, direction) {
    for (let at = 0; at < piece.length; at += SHARED_BYTES) {
      const part = piece.subarray(at, at + SHARED_BYTES)
      freeAt[direction] = Math.max(freeAt[direction], now()) + (part.length / bytesPerSecond) * 1_000
      await sleep(freeAt[direction] - now())
      yield part
    }
  }
}

/** A login is short, and comes first: no piece ends within it. */
async function* downgraded(piece, _link, direction) {
  const wanted = 'HELLO\r\n$1\r\n3\r\n'
  const at = direction === 'up' ? piece.indexOf(wanted) : -1
  if (at >= 0) piece.write(wanted.replace('3', '2'), at)
  yield piece
}

function cutter(cutDirection, bytes) {
  return async function* (piece, link, direction) {
    const left = bytes - link.passed
    if (direction === cutDirection) link.passed += piece.length
    yield direction === cutDirection ? piece.subarray(0, left) : piece
    if (link.passed < bytes) return
    // What was let through is sent before the break.
    await new Promise(setImmediate)
    link.break()
  }
}
