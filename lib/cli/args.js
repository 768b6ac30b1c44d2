'use strict'

const { parseArgs } = require('node:util')

/** The command line is invalid: exit code 2. The message never quotes a value, because it may be a secret. */
class UsageError extends Error {}

/** The command failed: exit code 1. */
class Failure extends Error {
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

/** Text that a message may safely repeat. */
const isName = (text) => /^[a-z][a-z-]{0,30}$/i.test(text)

/**
 * The values of the options by name. `known`: the options; `value` is set if an option takes a value. Errors contain the names of
 * options, never the given values.
 */
function parse(args, known) {
  const options = { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean' } }
  for (const [name, { value }] of Object.entries(known)) options[name] = { type: value ? 'string' : 'boolean' }
  const { values, tokens } = parseArgs({ args, options, strict: false, allowPositionals: true, tokens: true })
  for (const token of tokens) check(token, options)
  return values
}

function check(token, options) {
  if (token.kind === 'positional') {
    throw new UsageError('an argument belongs to no option. Write each value after its option, as in --url redis://….')
  }
  if (token.kind !== 'option') return
  const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined
  if (!option) {
    const allowed = Object.keys(options)
      .map((name) => `--${name}`)
      .join(', ')
    throw new UsageError(`unknown option${isName(token.name) ? ` ${token.rawName}` : ''}; allowed: ${allowed}`)
  }
  if (
    option.type === 'string' &&
    (token.value === undefined || token.value === '' || (!token.inlineValue && token.value.startsWith('--')))
  ) {
    throw new UsageError(`--${token.name} needs a value`)
  }
  if (option.type === 'boolean' && token.value !== undefined) throw new UsageError(`--${token.name} takes no value`)
}

module.exports = { parse, isName, UsageError, Failure }
