'use strict'

const { Failure } = require('./args.js')
const { openStore } = require('./store.js')

module.exports = {
  name: 'get',
  summary: 'the definitions as JSON',
  options: { flag: { value: '<key>', text: 'only the flag of this key' } },
  text: `Prints the definitions: byte for byte the JSON text that the fleet shares (decompressed), or one flag of it. A terminal and
--flag show control characters escaped (\\u001b), which means the same in JSON.`,
  exitCodes: [
    ['0', 'printed'],
    ['1', 'there are none, they are damaged, there is no such flag, or the store cannot be read'],
  ],
  examples: [
    ['get > definitions.json', 'a copy'],
    ["get | jq -r '.flags[].key'", 'the keys of all flags'],
    ['get --flag checkout-redesign', 'one flag'],
  ],

  async run({ values, options, output }) {
    const stored = await openStore(options).definitions()
    if (!stored)
      throw new Failure(undefined, 'the store has no definitions of this project: the first worker that polls fetches them, or `refresh`')
    if (values.flag === undefined) {
      output.copy(stored.text)
      return 0
    }
    const { flags } = JSON.parse(stored.text)
    const flag = flags.find(({ key }) => key === values.flag)
    if (!flag) throw new Failure(undefined, `none of the ${flags.length} flags has this key`)
    output.json(flag)
    return 0
  },
}
