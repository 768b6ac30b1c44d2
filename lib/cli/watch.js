'use strict'

const { bytes, counted, duration } = require('./output.js')
const { recordJson, recordRows } = require('./record.js')
const { openStore } = require('./store.js')

/** New definitions cause an update notification. Changes of the leader and of `confirmed` do not, so they are read at this interval. */
const LOOK_EVERY_MS = 1_000

module.exports = {
  name: 'watch',
  summary: 'the same, live',
  isFleets: true,
  options: { json: { text: 'one JSON object a line, as of status, at each change' } },
  text: `Shows what \`status\` shows, and keeps it current until Ctrl-C: new definitions the moment they are published, everything else
within a second. On a terminal it is redrawn in place; elsewhere each change is a line. An outage of the store is shown, and
survived. Reads only, like \`status\`.`,
  exitCodes: [
    ['0', 'ended by Ctrl-C, by SIGTERM, or because nobody reads any more'],
    ['1', 'the store could not be read at the beginning'],
  ],
  examples: [
    ['watch', 'while you edit a flag in PostHog'],
    ['watch >> flags.log', 'a line for each change'],
    ['watch --json | jq -c .definitions.version', 'for a program'],
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
  if (error) return earlier.error?.message === error.message ? [] : [`cannot be read: [${error.code}] ${error.message}`]
  const before = earlier?.record
  const told = []
  if (earlier?.error) told.push('can be read again')
  if (before && record.invalidatedAt !== before.invalidatedAt && record.invalidatedAt !== null)
    told.push('invalidated: somebody said that the definitions have changed')
  // A short lease may already be over.
  if (record.fence > (before?.fence ?? 0)) told.push(`turn ${record.fence} given${record.lease ? ` to ${record.lease.owner}` : ''}`)
  if (!before || record.stored?.version !== before.stored?.version || record.damage !== before.damage) told.push(definitions(record))
  else if (record.stored && record.confirmedAt > (before.confirmedAt ?? 0))
    told.push(`confirmed: version ${record.stored.version} is current`)
  if (before?.leader && !record.leader) told.push(`${before.leader} leads no longer`)
  if (record.retryInMs !== null && (before?.retryInMs ?? null) === null)
    told.push(`pause: nobody calls PostHog for ${duration(record.retryInMs)}`)
  else if (before && before.retryInMs !== null && record.retryInMs === null) told.push('pause over')
  return told
}

function definitions({ stored, definitions, damage }) {
  if (damage) return `damaged: ${damage}`
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
    const table = output.tableLines(recordRows(recordJson(next.record, projectKey)))
    const trouble = next.error ? [[], [output.paint('red', next.error.message)]] : []
    const room = Math.max(1, Math.min(LINES_OF_HISTORY, rows() - table.length - trouble.length - 1))
    history.splice(0, history.length - room)
    draw([...table, ...trouble, [], ...history.map((line) => [output.paint('dim', line)])])
  }
}
