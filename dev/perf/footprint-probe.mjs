// A process that does nothing but load one client, connect it and use it once: node --expose-gc footprint-probe.mjs KIND URL

import { createRequire } from 'node:module'

import { CLIENTS } from './clients.mjs'
import { prepare } from './subjects.mjs'

const require = createRequire(import.meta.url)
const [kind, url] = process.argv.slice(2)

function memory() {
  globalThis.gc()
  return process.memoryUsage().rss
}

const before = memory()
const at = performance.now()
require(CLIENTS[kind]?.module ?? '../../index.js')
const loadMs = performance.now() - at

const open = await prepare(kind)
const { provider, close } = await open({ url, projectKey: `phc_${kind}_footprint` })
await provider.getFlagDefinitions()
process.stdout.write(JSON.stringify({ loadMs, memoryBytes: memory() - before }))
await close()
