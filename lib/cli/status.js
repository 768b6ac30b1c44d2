'use strict'

const { recordJson, recordRows } = require('./record.js')
const { openStore } = require('./store.js')

module.exports = {
  name: 'status',
  summary: 'show the shared definitions, their age and the leader',
  isFleets: true,
  options: { json: { text: 'print JSON; durations in milliseconds' } },
  text: `Shows what the store contains. It only reads: it takes no lease and does not call PostHog.

  published   when these definitions were published
  confirmed   when PostHog last confirmed that they are current; if this is older than three intervals, no process can fetch
  leader      the process (host:pid:random) that holds the lease and fetches, and when its lease ends
  fence       the number of the newest grant (permission to fetch); it grows by one with each grant
  pause       how much longer no process calls PostHog, because PostHog failed or asked for a pause
  expires     when the store deletes everything if no process polls (in Redis, the user needs the permission +pttl)`,
  exitCodes: [
    ['0', 'the store has definitions'],
    ['1', 'no definitions, corrupt definitions, or the store cannot be read'],
  ],
  examples: [
    ['status --url redis://127.0.0.1:6379 --project-key phc_…', 'one store and one project'],
    ["status --json | jq '.definitions.confirmedMsAgo < 90000'", 'for a monitor: are the definitions current?'],
  ],

  async run({ values, options, output }) {
    const json = recordJson(await openStore(options).look(), options.projectKey)
    if (values.json) output.json(json)
    else output.table(recordRows(json))
    return json.definitions && !json.damage ? 0 : 1
  },
}
