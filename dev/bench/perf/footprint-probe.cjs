// A process that does nothing but load one client, or load it, connect it and use it once:
// node --expose-gc footprint-probe.cjs load|memory KIND NAME URL

'use strict'

const [what, kind, name, url] = process.argv.slice(2)

/** `require()` in a CommonJS process: loading the loader of modules is nobody's cost. */
function load() {
  const at = performance.now()
  require(name)
  return performance.now() - at
}

function rss() {
  globalThis.gc()
  return process.memoryUsage().rss
}

async function memory() {
  const { prepare } = await import('./subjects.mjs')
  const before = rss()
  const open = await prepare(kind)
  const { provider, close } = await open({ url, projectKey: `phc_${kind}_footprint` })
  await provider.getFlagDefinitions()
  const grown = rss() - before
  await close()
  return grown
}

Promise.resolve({ load, memory }[what]()).then((result) => process.stdout.write(String(result)))
