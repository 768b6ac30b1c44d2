'use strict'

const { parseArgs } = require('node:util')

/** How the command line was written is wrong: exit code 2. The message never quotes a value, which may be a secret. */
class UsageError extends Error {}

/** What was asked for cannot be done: exit code 1. */
class Failure extends Error {
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

/** What can safely be repeated in a message. */
const isName = (text) => /^[a-z][a-z-]{0,30}$/i.test(text)

/**
 * The values of the options by name. `known`: each with the `value` that it takes, if it takes one. Faults are told by the names
 * of options, never by what was given.
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
    throw new UsageError('there is an argument that belongs to no option; every value follows its option: --url redis://…')
  }
  if (token.kind !== 'option') return
  const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined
  if (!option) {
    const allowed = Object.keys(options)
      .map((name) => `--${name}`)
      .join(', ')
    throw new UsageError(`${isName(token.name) ? token.rawName : 'what you gave'} is no option of this command; allowed: ${allowed}`)
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
