'use strict'

const { setImmediate: turn } = require('node:timers/promises')

/**
 * Makes definitions of the slices with their new pieces, the first of them and the `rest`, and of those
 * held before (`src/delivery.rs` says how the plan is written): `{ version, definitions }`. Nothing
 * handed out earlier is changed.
 *
 * Between one slice and the next the event loop is free.
 */
async function assemble({ version, slice, rest }, held) {
  const slices = [JSON.parse(slice)]
  for (let next = rest?.next(); next; next = rest.next()) {
    await turn()
    slices.push(JSON.parse(next))
  }
  const pieces = [].concat(...slices)
  const plan = pieces.pop()
  return { version, definitions: build(plan, held.definitions, pieces) }
}

function build(plan, earlier, pieces) {
  if (typeof plan === 'number') return plan < 0 ? earlier : pieces[plan]
  if (Array.isArray(plan)) {
    const part = ([first, count]) => (first < 0 ? earlier.slice(~first, ~first + count) : pieces.slice(first, first + count))
    // Built-ins: a loop that runs once in a while is interpreted, and takes twenty times as long.
    return [].concat(...plan.map(part))
  }
  // `JSON.parse` has made a `__proto__` among these keys an own property: assigning to it is safe.
  for (const key of Object.keys(plan)) plan[key] = build(plan[key], earlier?.[key], pieces)
  return plan
}

module.exports = { assemble }
