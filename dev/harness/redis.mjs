// A private redis-server: own port, own directory, no persistence, bound to 127.0.0.1.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Redis } from 'ioredis'

/** Another one that speaks the same, Valkey for instance. */
const SERVER = process.env.REDIS_SERVER ?? 'redis-server'

const START_TIMEOUT_MS = 10_000

const running = new Set()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/**
 * Starts a server and resolves once it answers: `{ url, port, pid, ended, client(), pause(), resume(), stop() }`.
 *
 * `port`: a given one, to bring a server back where it was. `args`: further options of redis-server, in which `{port}` stands for it.
 */
export async function startRedis({ port, args = [] } = {}) {
  // Another process may take a free port before the server does: then try another.
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOn(port ?? (await freePort()), args)
    } catch (error) {
      if (!error.addressInUse || port !== undefined || attempt === 5) throw error
    }
  }
}

async function startOn(port, args) {
  const dir = mkdtempSync(join(tmpdir(), 'flag-cache-redis-'))
  // A sentinel cannot do without a file that it can write.
  const file = join(dir, 'config')
  writeFileSync(file, '')
  const options = [file, '--port', port, '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--appendonly', 'no', ...args].map((option) =>
    String(option).replace('{port}', port),
  )
  const child = spawn(SERVER, options, { stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = new Promise((resolve) => child.once('close', resolve))
  running.add(child)

  const stop = async () => {
    server.ended = true
    for (const client of clients) client.disconnect()
    child.kill('SIGKILL')
    await exited
    running.delete(child)
    rmSync(dir, { recursive: true, force: true })
  }

  const clients = new Set()
  const url = `redis://127.0.0.1:${port}`
  const server = { url, port, ended: false }
  try {
    await untilReady(child)
  } catch (error) {
    await (child.pid ? stop() : rmSync(dir, { recursive: true, force: true }))
    throw error
  }
  return Object.assign(server, {
    pid: child.pid,
    /** A connection to look into the server; `stop()` closes it. */
    client(settings = {}) {
      const client = new Redis(url, { maxRetriesPerRequest: 1, ...settings })
      client.on('error', () => {})
      clients.add(client)
      return client
    },
    /** Keeps its connections open and answers nobody, as a hung host does. */
    pause: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
    stop,
  })
}

function untilReady(child) {
  return new Promise((resolve, reject) => {
    let log = ''
    const fail = (message, properties) => {
      clearTimeout(timer)
      reject(Object.assign(new Error(message), properties))
    }
    const timer = setTimeout(() => fail(`redis-server did not become ready in ${START_TIMEOUT_MS} ms:\n${log}`), START_TIMEOUT_MS)
    const read = (chunk) => {
      log += chunk
      if (!/Ready to accept connections|Sentinel ID is/.test(log)) return
      clearTimeout(timer)
      resolve()
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    child.once('error', (error) => {
      if (error.code !== 'ENOENT') return fail(error.message)
      fail('redis-server is not installed. Debian and Ubuntu: apt-get install redis-server; macOS: brew install redis.')
    })
    child.once('close', (code) => {
      fail(`redis-server ended with status ${code}:\n${log}`, { addressInUse: /address already in use/i.test(log) })
    })
  })
}

/** A port on which nobody listens, low enough for the bus of a cluster, which takes the one 10000 above. */
export async function freePort() {
  for (;;) {
    const port = await anyPort()
    if (port + 10_000 < 65_536) return port
  }
}

function anyPort() {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}
