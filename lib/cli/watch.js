'use strict'

const { bytes, counted, duration } = require('./output.js')
const { recordJson, recordRows } = require('./record.js')
const { openStore } = require('./store.js')

/** New definitions cause an update notification. Changes of the leader and of `confirmed` do not, so they are read at this interval. */
const LOOK_EVERY_MS = 1_000

module.exports = {
  name: 'watch',
  summary: 'show the same as status, live',
  isFleets: true,
  options: { json: { text: 'print a line of JSON, as status does, at each change' } },
  text: `Shows what \`status\` shows, and updates it until Ctrl-C: new definitions when they are published, everything else within a
second. On a terminal, it redraws the table; otherwise, it prints a line for each change. It shows an outage of the store and
continues after it. Like \`status\`, it only reads.`,
  exitCodes: [
    ['0', 'ended by Ctrl-C, by SIGTERM, or because its output was closed'],
    ['1', 'the store could not be read at the start, or the output cannot be written'],
  ],
  examples: [
    ['watch', 'while you edit a flag in PostHog'],
    ['watch >> flags.log', 'log a line for each change'],
    ['watch --json | jq -c .definitions.version', 'for programs'],
  ],

  async run({ values, options, output }) {
    const store = openStore(options)
    const show = values.json ? jsonLines(output, options) : output.isLive ? screen(output, options) : lines(output)
    const end = () => process.exit(0)
    // Not `once()`: `timeout` and terminals send a signal to the process and to its group, and the second must not kill the process.
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, end)
    let seen = { record: await store.look() }
    show(seen)
    for (;;) {
      await store.changed(LOOK_EVERY_MS)
      const next = await store.look().then(
        (record) => ({ record }),
        (error) => ({ record: seen.record, error }),
      )
      show(next, seen)
      seen = next
    }
  },
}

/** Describes the changes between two reads of the store; without an earlier read, the current state. */
function changes({ record, error }, earlier) {
  if (error) return earlier.error?.message === error.message ? [] : [`the store cannot be read: [${error.code}] ${error.message}`]
  const before = earlier?.record
  const told = []
  if (earlier?.error) told.push('the store can be read again')
  if (before && record.invalidatedAt !== before.invalidatedAt && record.invalidatedAt !== null)
    told.push('invalidated: a process reported that the definitions have changed')
  // A short lease may already be over.
  if (record.fence > (before?.fence ?? 0)) told.push(`grant ${record.fence} given${record.lease ? ` to ${record.lease.owner}` : ''}`)
  if (!before || record.stored?.version !== before.stored?.version || record.damage !== before.damage) told.push(definitions(record))
  else if (record.stored && record.confirmedAt > (before.confirmedAt ?? 0))
    told.push(`confirmed: version ${record.stored.version} is current`)
  if (before?.leader && !record.leader) told.push(`${before.leader} is no longer the leader`)
  if (record.retryInMs !== null && (before?.retryInMs ?? null) === null)
    told.push(`pause: no process calls PostHog for ${duration(record.retryInMs)}`)
  else if (before && before.retryInMs !== null && record.retryInMs === null) told.push('the pause is over')
  return told
}

function definitions({ stored, definitions, damage }) {
  if (damage) return damage
  if (!stored) return 'no definitions'
  return `version ${stored.version}: ${counted(definitions.flags, 'flag')}, ${counted(definitions.cohorts, 'cohort')}, ${bytes(definitions.bytes)}`
}

/** A line for each change. */
function lines(output) {
  return (next, seen) => {
    for (const change of changes(next, seen)) output.line(`${new Date().toISOString()}  ${change}`)
  }
}

function jsonLines(output, { projectKey }) {
  return (next, seen) => {
    if (changes(next, seen).length === 0) return
    if (next.error) output.message(`[${next.error.code}] ${next.error.message}`)
    else output.line(JSON.stringify(recordJson(next.record, projectKey)))
  }
}

const LINES_OF_HISTORY = 8

/** Redraws the table, with the last changes below it. */
function screen(output, { projectKey }) {
  const { draw, rows } = output.screen()
  const history = []
  return (next, seen) => {
    for (const change of changes(next, seen)) history.push(`${new Date().toLocaleTimeString()}  ${change}`)
    history.splice(0, history.length - LINES_OF_HISTORY)
    const error = next.error ? [[], [output.paint('red', next.error.message)]] : []
    // On a small terminal the history goes first, then the end of the table.
    const table = output.tableLines(recordRows(recordJson(next.record, projectKey))).slice(0, Math.max(0, rows() - error.length))
    const room = Math.max(0, rows() - table.length - error.length - 1)
    const recent = room > 0 ? [[], ...history.slice(-room).map((line) => [output.paint('dim', line)])] : []
    const lines = [...table, ...error, ...recent]
    draw(lines.slice(Math.max(0, lines.length - rows())))
  }
}
