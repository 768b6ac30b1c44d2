'use strict'

const { FlagCacheError } = require('../error.js')
const { UsageError } = require('./args.js')
const { openStore } = require('./store.js')

module.exports = {
  name: 'purge',
  summary: "delete this project's definitions and state from the store",
  options: {
    yes: { text: 'do not ask; required without a terminal' },
    json: { text: 'print the outcome as JSON' },
  },
  text: `Deletes the keys of this project and prefix from the store, and nothing else. With --local-copy, it also deletes this host's
copy. It asks first.

Running processes restore the definitions at their next poll, or fetch them. So use purge for keys that no process uses any
more (a deleted project, an old prefix), or that another program has overwritten. To fetch new definitions, use \`refresh\`.`,
  exitCodes: [
    ['0', 'deleted, or nothing was stored'],
    ['1', 'not confirmed, or the store cannot be changed'],
  ],
  examples: [
    ['purge', 'ask first'],
    ['purge --yes --key-prefix old:prefix', 'in a script, without a question'],
  ],

  async run({ values, options, output }) {
    const store = openStore(options)
    if (options.role === 'reader')
      throw new FlagCacheError('ERR_FLAG_CACHE_READONLY', "the role 'reader' cannot change the store. Run purge without --role reader.")
    if (!values.yes && !(await isConfirmed(store, options, output))) {
      output.message('nothing was deleted')
      return 1
    }
    const purged = await store.purge()
    if (values.json) output.json({ purged })
    else output.line(purged ? 'deleted the definitions and the state' : 'nothing was stored')
    return 0
  },
}

async function isConfirmed(store, { projectKey, localCopy }, output) {
  if (!output.canAsk)
    throw new UsageError('purge asks before it deletes, but there is no terminal. Use --yes to delete without a question.')
  const { backend } = await store.look()
  const copy = localCopy ? ", and this host's copy" : ''
  const answer = await output.ask(`Delete the definitions and the state of ${projectKey} in ${backend.location}${copy}? [y/N] `)
  return /^y(es)?$/i.test(answer.trim())
}
