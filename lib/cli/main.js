'use strict'

const { version } = require('../../package.json')
const { isName, parse, UsageError } = require('./args.js')
const { generalHelp, commandHelp } = require('./help.js')
const { CLASS_OPTIONS, classOptions, inOurWords } = require('./options.js')
const { Output } = require('./output.js')

const COMMANDS = Object.fromEntries(
  ['status', 'watch', 'get', 'refresh', 'relay', 'purge', 'doctor'].map((name) => [name, require(`./${name}.js`)]),
)

/** Runs a command line, and then ends the process, even if connections are still open. */
async function main(args) {
  const output = new Output()
  const code = await run(args, output).catch((error) => explain(error, args, output))
  await output.flush()
  process.exit(code)
}

async function run([name, ...args], output) {
  if (name === undefined) {
    for (const line of generalHelp(COMMANDS).split('\n')) output.message(line)
    return 2
  }
  if (name === '--version') return show(output, version)
  if (name === '--help' || name === '-h' || (name === 'help' && args.length === 0)) return show(output, generalHelp(COMMANDS))
  const command = commandOf(name === 'help' ? args[0] : name)
  if (name === 'help') return show(output, commandHelp(command))
  const values = parse(args, { ...command.options, ...CLASS_OPTIONS })
  if (values.help) return show(output, commandHelp(command))
  if (values.version) return show(output, version)
  return command.run({ values, output, options: classOptions(values) })
}

function commandOf(name) {
  if (Object.hasOwn(COMMANDS, name)) return COMMANDS[name]
  const what = name.startsWith('-') ? 'the command must come first' : `unknown command${isName(name) ? ` ${name}` : ''}`
  throw new UsageError(`${what}; allowed: ${Object.keys(COMMANDS).join(', ')}`)
}

function show(output, text) {
  output.lines(text)
  return 0
}

/** Prints the error, and returns the exit code. */
function explain(error, [name], output) {
  const isUsage = error instanceof UsageError || error.code === 'ERR_FLAG_CACHE_OPTIONS'
  const code = error.code ? ` [${error.code}]` : ''
  output.message(output.paint('red', 'error'), `${code}: ${inOurWords(error.message)}`)
  if (isUsage) output.message(`Run "posthog-flag-cache ${Object.hasOwn(COMMANDS, name ?? '') ? `${name} ` : ''}--help" for details.`)
  return isUsage ? 2 : 1
}

module.exports = { main }
