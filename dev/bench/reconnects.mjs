// When the clients of a Redis that is gone for a while try to connect: counted on the way to it.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import { now, sleep } from '../harness/clock.mjs'
import { NETWORK, startFaultProxy } from '../harness/fault-proxy.mjs'
import { startRedis } from '../harness/redis.mjs'

const SCRIPT = fileURLToPath(new URL('./reconnects-worker.mjs', import.meta.url))
const POLL_MS = 1_000
const PROCESSES = 4

/**
 * Has `clients` connect, takes Redis away for `outageMs`, and waits until all are back. Resolves with milliseconds:
 * `attempts` since the loss, while it lasted; `returns` since the end of it, one for each client.
 */
export async function measureReconnects({ clients, outageMs }) {
  const redis = await startRedis()
  const proxy = await startFaultProxy(redis.port)
  const argument = JSON.stringify([proxy.url, clients / PROCESSES, POLL_MS])
  const workers = Array.from({ length: PROCESSES }, () => fork(SCRIPT, [argument]))
  const answered = async () => {
    const counts = await Promise.all(
      workers.map(async (worker) => {
        worker.send('count')
        return (await once(worker, 'message'))[0]
      }),
    )
    return counts.reduce((sum, count) => sum + count, 0)
  }
  const untilAll = async () => {
    while (proxy.open < clients) await once(proxy, 'attempt')
    while ((await answered()) < clients) await sleep(100)
  }
  try {
    await untilAll()
    const [lostAt, before] = [now(), proxy.attempts.length]
    await proxy.break(NETWORK.reset)
    await sleep(outageMs)
    await proxy.heal()
    const [healedAt, during] = [now(), proxy.attempts.length]
    await untilAll()
    return {
      attempts: proxy.attempts.slice(before, during).map((at) => at - lostAt),
      returns: proxy.attempts.slice(during).map((at) => at - healedAt),
    }
  } finally {
    for (const worker of workers) worker.kill('SIGKILL')
    await proxy.close()
    await redis.stop()
  }
}

/** How many of these moments (in order) fall into the fullest stretch of `width`. */
export function fullest(moments, width) {
  let [most, from] = [0, 0]
  for (const [n, at] of moments.entries()) {
    while (moments[from] < at - width) from += 1
    most = Math.max(most, n - from + 1)
  }
  return most
}

/** The moment before which that share of them lies. */
export const quantile = (moments, share) => moments[Math.min(moments.length - 1, Math.floor(share * moments.length))]
