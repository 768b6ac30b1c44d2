'use strict'

const { changes } = require('./changes.js')
const { recordJson, recordRows } = require('./record.js')
const { openStore } = require('./store.js')

/** New definitions are announced; who leads and when they were confirmed is not, and is looked up. */
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
    const end = () => {
      show.end?.()
      process.exit(0)
    }
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, end)
    let seen = { record: await store.look() }
    show(seen)
    for (;;) {
      await store.changed(LOOK_EVERY_MS)
      const next = await store.look().then((record) => ({ record }), (error) => ({ record: seen.record, error }))
      show(next, seen)
      seen = next
    }
  },
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
const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'

/** The table, with the last changes below, drawn over the one before. */
function screen(output, { projectKey }) {
  const { stdout } = output
  const history = []
  let drawn = 0
  stdout.write(HIDE_CURSOR)
  process.once('exit', () => stdout.write(SHOW_CURSOR))
  return (next, seen) => {
    for (const change of changes(next, seen)) history.push(`${new Date().toLocaleTimeString()}  ${change}`)
    const table = output.tableLines(recordRows(recordJson(next.record, projectKey)).map(([label, text]) => [label, clip(text, stdout.columns - 14)]))
    const trouble = next.error ? ['', output.paint('red', clip(next.error.message, stdout.columns))] : []
    // What has left the screen at its top cannot be drawn over.
    const room = Math.max(1, Math.min(LINES_OF_HISTORY, (stdout.rows || Infinity) - table.length - trouble.length - 2))
    history.splice(0, history.length - room)
    const text = [...table, ...trouble, '', ...history.map((line) => output.paint('dim', clip(line, stdout.columns)))]
    stdout.write(`${drawn > 0 ? `\x1b[${drawn}A` : ''}\r${text.map((line) => `${line}\x1b[K\n`).join('')}\x1b[J`)
    drawn = text.length
  }
}

/** A line that wraps would be drawn over in the wrong place. */
const clip = (text, width) => (text.length > width && width > 1 ? `${text.slice(0, width - 1)}…` : text)
