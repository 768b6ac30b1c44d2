'use strict'

const cluster = require('node:cluster')

const { use } = require('./client.cjs')

if (cluster.isPrimary) {
  for (let n = 0; n < 3; n += 1) cluster.fork()
  cluster.on('message', (_, line) => console.log(line))
  cluster.on('exit', (_, code, signal) => {
    if (code !== 0) throw new Error(`a worker ended with ${code ?? signal}`)
  })
} else {
  const leave = (line) => process.send(line, () => process.disconnect())
  use(require('posthog-node'), require('posthog-flag-cache'), leave)
}
