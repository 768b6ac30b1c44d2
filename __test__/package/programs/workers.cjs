'use strict'

const { once } = require('node:events')
const { isMainThread, parentPort, Worker } = require('node:worker_threads')

const { use } = require('./client.cjs')

const run = (print) => use(require('posthog-node'), require('posthog-flag-cache'), print)

async function main() {
  const workers = Array.from({ length: 3 }, () => new Worker(__filename))
  const lines = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]))
  for (const line of lines) console.log(line)
  await Promise.all(workers.map((worker) => worker.terminate()))
  await run()
}

if (isMainThread) main()
else run((line) => parentPort.postMessage(line))
