// Stands between the clients and Redis, and counts what crosses, for all of them alike.

import { connect, createServer } from 'node:net'

/** Forwards a free port of 127.0.0.1 to `port`: `{ url, take(), close() }`. */
export async function startCountingProxy(port) {
  const counted = { sent: 0, received: 0 }
  const sockets = new Set()
  const server = createServer((client) => {
    const redis = connect(port, '127.0.0.1')
    forward(client, redis, (bytes) => (counted.sent += bytes))
    forward(redis, client, (bytes) => (counted.received += bytes))
  })

  function forward(from, to, count) {
    sockets.add(from)
    from.setNoDelay()
    from.on('data', (chunk) => count(chunk.length))
    from.pipe(to)
    from.on('error', () => to.destroy())
    from.on('close', () => {
      sockets.delete(from)
      to.destroy()
    })
  }

  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  return {
    url: `redis://127.0.0.1:${server.address().port}`,
    /** The bytes `sent` to Redis and `received` from it since the last time. */
    take() {
      const { sent, received } = counted
      Object.assign(counted, { sent: 0, received: 0 })
      return { sent, received }
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}
