'use strict'

// As Jest does: every module's code runs in a context with globals of its own; built-in modules and .node files do not.

const { readFileSync } = require('node:fs')
const { createRequire, isBuiltin } = require('node:module')
const { dirname } = require('node:path')
const vm = require('node:vm')

const { Buffer, process, console, fetch, Headers, Request, Response, URL, URLSearchParams, ReadableStream, TextEncoder, TextDecoder } =
  globalThis
const { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate, queueMicrotask, performance } = globalThis
const { AbortController, AbortSignal, crypto, structuredClone, CompressionStream, Blob } = globalThis
// biome-ignore format: many values to a line
const context = vm.createContext({
  Buffer, process, console, fetch, Headers, Request, Response, URL, URLSearchParams, ReadableStream, TextEncoder, TextDecoder,
  setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate, queueMicrotask, performance,
  AbortController, AbortSignal, crypto, structuredClone, CompressionStream, Blob,
})
vm.runInContext('globalThis.global = globalThis', context)
const modules = new Map()

function load(path) {
  const known = modules.get(path)
  if (known) return known.exports
  const module = { exports: {} }
  modules.set(path, module)
  const outer = createRequire(path)
  const inner = (id) => {
    const found = outer.resolve(id)
    if (isBuiltin(found) || found.endsWith('.node')) return outer(id)
    return found.endsWith('.json') ? JSON.parse(readFileSync(found, 'utf8')) : load(found)
  }
  inner.resolve = outer.resolve
  const parameters = ['module', 'exports', 'require', '__filename', '__dirname']
  const wrapper = vm.compileFunction(readFileSync(path, 'utf8'), parameters, { filename: path, parsingContext: context })
  wrapper.call(module.exports, module, module.exports, inner, path, dirname(path))
  return module.exports
}

if (vm.runInContext('Promise', context) === Promise) throw new Error('this is no context of its own')
load(require.resolve('./client.cjs')).use(load(require.resolve('posthog-node')), load(require.resolve('posthog-flag-cache')))
