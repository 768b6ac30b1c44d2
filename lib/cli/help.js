'use strict'

const { FLEET_OPTIONS, SECRETS, STORE_OPTIONS } = require('./options.js')

const NAME = 'posthog-flag-cache'

/** Lines of two columns. */
function columns(rows, indent = '  ') {
  const width = Math.max(...rows.map(([left]) => left.length)) + 2
  return rows.map(([left, right]) => `${indent}${left.padEnd(width)}${right}`.trimEnd()).join('\n')
}

const optionRows = (options) =>
  Object.entries(options).map(([name, { value, text, env }]) => [
    `--${name}${value ? ` ${value}` : ''}`,
    env ? `${text} (or ${env})` : text,
  ])

const secretRows = () => Object.entries(SECRETS).map(([name, { text }]) => [name, text])

function generalHelp(commands) {
  return `Shows, refreshes and checks the feature flag definitions that processes share with posthog-flag-cache.

Usage: ${NAME} <command> [options]

${columns(Object.entries(commands).map(([name, { summary }]) => [name, summary]))}

Run ${NAME} <command> --help for details of a command.

Store and project (the same options and variables as new FlagDefinitionCache({ … })):
${columns(optionRows(STORE_OPTIONS))}

Timing and other options (use the same values as your processes):
${columns(optionRows(FLEET_OPTIONS))}

Secrets come from the environment or from --password-file, because every user can read the arguments of a process. A --url with
a password is rejected: set POSTHOG_FLAG_CACHE_URL or REDIS_URL instead, or remove the password and set:
${columns([...secretRows(), ['POSTHOG_SECRET_KEY', 'secret key for refresh and relay (the option secretKey of posthog-node)']])}

Data goes to standard output, messages go to standard error. Without a terminal, or with NO_COLOR, the output has no colours.

Exit codes:
${columns([
  ['0', 'success'],
  ['1', 'failure or problem; most messages begin with error and a stable code: error [ERR_FLAG_CACHE_…]'],
  ['2', 'invalid command line; nothing was done'],
])}

Examples:
${columns([
  [`export POSTHOG_PROJECT_KEY=phc_… REDIS_URL=redis://…`, ''],
  [`${NAME} doctor`, '# check whether this machine can use this Redis'],
  [`${NAME} status`, '# show the shared definitions and the leader'],
  [`${NAME} refresh`, '# after a deploy: fetch now, for all processes'],
])}`
}

function commandHelp({ name, synopsis = '[options]', text, options, examples, exitCodes, isFleets }) {
  const sections = [`Usage: ${NAME} ${name} ${synopsis}`, text]
  if (Object.keys(options).length > 0) sections.push(`Options:\n${columns(optionRows(options))}`)
  sections.push(`Store and project:\n${columns(optionRows(STORE_OPTIONS))}`)
  if (isFleets) sections.push(`Timing and other options (use the same values as your processes):\n${columns(optionRows(FLEET_OPTIONS))}`)
  sections.push(`Secrets, from the environment only:\n${columns(secretRows())}`)
  sections.push(`Exit codes:\n${columns([...exitCodes, ['2', 'invalid command line; nothing was done']])}`)
  sections.push(`Examples:\n${columns(examples.map(([line, why]) => [`${NAME} ${line}`, `# ${why}`]))}`)
  return sections.join('\n\n')
}

module.exports = { generalHelp, commandHelp }
