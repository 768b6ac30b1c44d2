'use strict'

const { UsageError } = require('./args.js')
const { openStore } = require('./store.js')

module.exports = {
  name: 'purge',
  summary: "delete this project's definitions and state from the store",
  options: {
    yes: { text: 'do not ask; needed where there is no terminal' },
    json: { text: 'the outcome as JSON' },
  },
  text: `Deletes what the store holds of this project, under this prefix; nothing else. With --local-copy, this host's copy of
it too. Asks first.

A fleet that runs puts it back: each worker that holds the definitions does so at its next poll, and who holds none fetches.
So it is for what no fleet uses any more (a project that is gone, a prefix that was renamed), and for what somebody else has
written under our names. It does not make a fleet fetch: \`refresh\` does.`,
  exitCodes: [
    ['0', 'deleted, or there was nothing'],
    ['1', 'you said no, or the store cannot be written'],
  ],
  examples: [
    ['purge', 'asks'],
    ['purge --yes --key-prefix old:prefix', 'in a script'],
  ],

  async run({ values, options, output }) {
    const store = openStore(options)
    if (!values.yes && !(await isConfirmed(store, options, output))) {
      output.message('nothing was deleted')
      return 1
    }
    const purged = await store.purge()
    if (values.json) output.json({ purged })
    else output.line(purged ? 'deleted' : 'there was nothing')
    return 0
  },
}

async function isConfirmed(store, { projectKey, localCopy }, output) {
  if (!output.canAsk) throw new UsageError('purge deletes, and there is no terminal to ask on: say --yes')
  const { backend } = await store.look()
  const copy = localCopy ? ", and this host's copy" : ''
  const answer = await output.ask(`Delete the definitions and the state of ${projectKey} in ${backend.location}${copy}? [y/N] `)
  return /^y(es)?$/i.test(answer.trim())
}
