// npm run messages: lists every text that a user can read, with where it comes from, in __test__/repository/messages.txt.
//
// A text is a string of the sources with a blank between words, so that none is left out for the way in which it is made. Strings
// that nobody reads are named in NOT_MESSAGES.

import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { textsOfJavaScript } from './messages/javascript.mjs'
import { textsOfRust } from './messages/rust.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
export const LIST = '__test__/repository/messages.txt'

const HEAD = `Every text that a user can read: errors, warnings, what doctor finds, the relay's answers, metrics, and the help at the end.
\`npm run messages\` writes this file, and a test compares it with the sources.

Before each text stands the code of its error, or what it belongs to: a function, an option or a constant. {…} is a value. A text that is
no sentence is part of another one in the same file, or of "option '{option}' {fault}; allowed: {allowed}" in src/config/mod.rs.
Not listed: labels of one word, and the errors of the system, of Redis and of TLS, which follow a colon.
`

/** Strings with a blank that nobody reads, or only a program. */
const NOT_MESSAGES = new Set([
  // Headers, and the syntax of OpenMetrics
  'Bearer {secretKey}',
  'private, must-revalidate',
  'GET, OPTIONS, HEAD',
  'not ready',
  'application/openmetrics-text; version=1.0.0; charset=utf-8',
  '# TYPE {name} {kind}',
  '# UNIT {name} {unit}',
  '# HELP {name} {description}',
  '{…}# EOF\n',
  '{name}{suffix}{{…}} {value}',
  // What moves the cursor of a terminal
  '{…}\r{text}\x1b[J',
  // Scripts of Redis, and what its errors are recognised by
  'return 1',
  "return redis.call('PUBLISH', ARGV[1], 'doctor')",
  'local function publish() return false end',
  'No matching script. Please use EVAL.',
  'No matching script.',
  'the server answers HELLO 3 with RESP2',
  'unknown command',
  'unsupported command',
])

const filesIn = (folder) =>
  readdirSync(`${ROOT}${folder}`, { recursive: true })
    .map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
    .sort()

/** The list, made from the sources. */
export function messages() {
  const { shown, help } = helpTexts()
  const unused = new Set(NOT_MESSAGES)
  const isListed = ({ text, parts }) => {
    unused.delete(text)
    return isProse(text) && !NOT_MESSAGES.has(text) && !parts.every((part) => shown.includes(part))
  }
  const javascript = [...filesIn('lib'), 'unsupported.js'].filter((file) => file.endsWith('.js'))
  const rust = filesIn('src').filter((file) => file.endsWith('.rs'))
  const found = [...javascript.map((file) => [file, textsOfJavaScript(read(file))]), ...rust.map((file) => [file, textsOfRust(read(file))])]
  const sections = found.map(([file, texts]) => [file, texts.filter(isListed).map(line)]).filter(([, lines]) => lines.length > 0)
  if (unused.size > 0) throw new Error(`NOT_MESSAGES has texts that are not in the sources: ${[...unused].join(', ')}`)
  return [
    HEAD,
    ...sections.map(([file, lines]) => `${file}\n\n${lines.join('\n')}\n`),
    ...help.map(([line, text]) => `$ ${line}\n\n${text}`),
  ].join('\n')
}

/** Whether words follow each other. */
const isProse = (text) => /\p{L}{2}/u.test(text) && /\S\s+\S/.test(text.replace(/\{[^}]*\}/g, 'x'))

const line = ({ label, text }) => `  ${label.padEnd(20)} ${text}`

const read = (file) => readFileSync(`${ROOT}${file}`, 'utf8')

/** All that help shows, and for each command line what it adds to the general help. */
function helpTexts() {
  const helpOf = (...args) => execFileSync(process.execPath, [`${ROOT}cli.js`, ...args, '--help'], { encoding: 'utf8' })
  const general = helpOf()
  const isNew = (section) =>
    !section.includes('\n') ||
    section
      .split('\n')
      .slice(1)
      .some((line) => !general.includes(line))
  const added = (text) => `${text.trimEnd().split('\n\n').filter(isNew).join('\n\n')}\n`
  const names = filesIn('lib/cli').flatMap((file) => read(file).match(/(?<=^ {2}name: ')\w+/m) ?? [])
  const commands = names.map((name) => [`posthog-flag-cache ${name} --help`, helpOf(name)])
  return {
    shown: [general, ...commands.map(([, text]) => text)].join('\n'),
    help: [['posthog-flag-cache --help', general], ...commands.map(([line, text]) => [line, added(text)])],
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(`${ROOT}${LIST}`, messages())
