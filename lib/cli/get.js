'use strict'

const { Failure } = require('./args.js')
const { openStore } = require('./store.js')

module.exports = {
  name: 'get',
  summary: 'print the definitions as JSON',
  options: { flag: { value: '<key>', text: 'print only the flag with this key' } },
  text: `Prints the definitions in the store, decompressed and otherwise unchanged, or one flag. On a terminal and with --flag, control
characters are escaped (\\u001b), which means the same in JSON.`,
  exitCodes: [
    ['0', 'printed'],
    ['1', 'no definitions, corrupt definitions, no flag with this key, or the store cannot be read'],
  ],
  examples: [
    ['get > definitions.json', 'save a copy'],
    ["get | jq -r '.flags[].key'", 'the keys of all flags'],
    ['get --flag checkout-redesign', 'one flag'],
  ],

  async run({ values, options, output }) {
    const stored = await openStore(options).definitions()
    if (!stored)
      throw new Failure(
        undefined,
        'the store has no definitions for this project. The first process that polls fetches them; `refresh` fetches them now.',
      )
    if (values.flag === undefined) {
      output.copy(stored.text)
      return 0
    }
    const { flags } = JSON.parse(stored.text)
    const flag = flags.find(({ key }) => key === values.flag)
    if (!flag)
      throw new Failure(
        undefined,
        `none of the ${flags.length} flags has this key. To list all keys, run: npx posthog-flag-cache get | jq -r '.flags[].key'`,
      )
    output.json(flag)
    return 0
  },
}
