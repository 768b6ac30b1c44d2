'use strict'

const { setImmediate: turn } = require('node:timers/promises')

const { NativeText } = require('./native.js')

/**
 * Builds definitions from one or several slices (`src/definitions/slices.rs` describes them) and from the definitions held before. Returns
 * `{ version, definitions }`. Objects that were returned earlier are not changed.
 */
async function assemble(slices, held) {
  const pieces = typeof slices === 'string' ? JSON.parse(slices) : await parse(slices)
  const version = pieces.pop()
  const plan = pieces.pop()
  return { version, definitions: build(plan, held.definitions, pieces) }
}

/** The event loop runs after each slice. */
async function parse(slices) {
  const parsed = []
  for (let slice = slices.next(); slice; slice = slices.next()) {
    parsed.push(JSON.parse(slice))
    await turn()
  }
  return [].concat(...parsed)
}

function build(plan, earlier, pieces) {
  if (typeof plan === 'number') return plan < 0 ? earlier : pieces[plan]
  if (Array.isArray(plan)) {
    if (typeof plan[0] === 'number') {
      const array = earlier.slice()
      for (let at = 0; at < plan.length; at += 2) array[plan[at]] = pieces[plan[at + 1]]
      return array
    }
    const part = ([first, count]) => (first < 0 ? earlier.slice(~first, ~first + count) : pieces.slice(first, first + count))
    // Built-in functions, because a loop that rarely runs is interpreted, and takes twenty times as long.
    return [].concat(...plan.map(part))
  }
  // `JSON.parse` has made a `__proto__` among these keys an own property: assigning to it is safe.
  for (const key of Object.keys(plan)) plan[key] = build(plan[key], earlier?.[key], pieces)
  return plan
}

/** This many characters are copied in a fraction of a millisecond. */
const PART = 128 * 1024

/** Passes a string to native code in parts. The event loop runs between them. */
async function toNative(string) {
  const text = new NativeText()
  for (let at = 0; at < string.length; at += PART) {
    if (at > 0) await turn()
    text.pushString(string.slice(at, at + PART))
  }
  return text
}

module.exports = { assemble, toNative }
