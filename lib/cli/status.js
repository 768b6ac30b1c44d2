'use strict'

const { recordJson, recordRows } = require('./record.js')
const { openStore } = require('./store.js')

module.exports = {
  name: 'status',
  summary: 'what the fleet shares: definitions, who fetches, how old',
  isFleets: true,
  options: { json: { text: 'as JSON; durations in milliseconds' } },
  text: `Shows what the fleet shares, as it is in the store. Reads only: it takes nobody's turn and calls PostHog for nothing.

  published   when these definitions were new
  confirmed   when PostHog last said, or was taken to have said, that they are current: older than two intervals, and
              nobody fetches
  leader      the worker (host:pid:random) whose turn to fetch it is, and for how long the others wait if it dies
  fence       the number of the newest turn; it grows by one with each
  pause       for how long nobody calls PostHog, because it failed or asked for that
  expires     when the store forgets everything if nobody polls any more (in Redis the user needs +pttl)`,
  exitCodes: [
    ['0', 'there are definitions'],
    ['1', 'there are none, they are damaged, or the store cannot be read'],
  ],
  examples: [
    ['status --url redis://127.0.0.1:6379 --project-key phc_…', 'one store, one project'],
    ["status --json | jq '.definitions.confirmedMsAgo < 90000'", 'for a monitor: are they current?'],
  ],

  async run({ values, options, output }) {
    const json = recordJson(await openStore(options).look(), options.projectKey)
    if (values.json) output.json(json)
    else output.table(recordRows(json))
    return json.definitions && !json.damage ? 0 : 1
  },
}
