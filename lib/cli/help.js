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
  return `Looks at, fills and checks what a fleet with posthog-flag-cache shares: one copy of PostHog's feature flag definitions.

Usage: ${NAME} <command> [options]

${columns(Object.entries(commands).map(([name, { summary }]) => [name, summary]))}

  ${NAME} <command> --help says more of each.

Where, and which project (the same options and variables as new FlagDefinitionCache({ … })):
${columns(optionRows(STORE_OPTIONS))}

How the fleet behaves: what it is told, a command must be told too:
${columns(optionRows(FLEET_OPTIONS))}

Secrets come from the environment only, because every user of this machine can read the arguments of a process. --url with a
password is rejected: set POSTHOG_FLAG_CACHE_URL or REDIS_URL, or leave the password out of the url and set:
${columns([...secretRows(), ['POSTHOG_SECRET_KEY', 'for refresh and relay: the key that posthog-node gets as secretKey']])}

Data goes to standard output, messages to standard error. Without a terminal, or with NO_COLOR, nothing is coloured.

Exit codes:
${columns([
  ['0', 'done; all is well'],
  ['1', 'not done, or not well: the message begins with a stable code, error [ERR_FLAG_CACHE_…]'],
  ['2', 'the command line cannot be understood; nothing was done'],
])}

Examples:
${columns([
  [`export POSTHOG_PROJECT_KEY=phc_… REDIS_URL=redis://…`, ''],
  [`${NAME} doctor`, '# can this machine use this Redis?'],
  [`${NAME} status`, '# what does the fleet share, and who fetches?'],
  [`${NAME} refresh`, '# after a deploy: fetch now, for everybody'],
])}`
}

function commandHelp({ name, synopsis = '[options]', text, options, examples, exitCodes, isFleets }) {
  const sections = [`Usage: ${NAME} ${name} ${synopsis}`, text]
  if (Object.keys(options).length > 0) sections.push(`Options:\n${columns(optionRows(options))}`)
  sections.push(`Where, and which project:\n${columns(optionRows(STORE_OPTIONS))}`)
  if (isFleets) sections.push(`As the fleet's:\n${columns(optionRows(FLEET_OPTIONS))}`)
  sections.push(`From the environment only:\n${columns(secretRows())}`)
  sections.push(`Exit codes:\n${columns([...exitCodes, ['2', 'the command line cannot be understood; nothing was done']])}`)
  sections.push(`Examples:\n${columns(examples.map(([line, why]) => [`${NAME} ${line}`, `# ${why}`]))}`)
  return sections.join('\n\n')
}

module.exports = { generalHelp, commandHelp }
