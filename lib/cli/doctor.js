'use strict'

const { inOurWords } = require('./options.js')
const { counted } = require('./output.js')
const { openStore } = require('./store.js')

const LABELS = {
  ok: ['ok', 'green'],
  warning: ['warning', 'yellow'],
  error: ['error', 'red'],
  unchecked: ['not checked', 'dim'],
}
/** The checks whose name in JSON is not the word that the documentation uses. */
const NAMES = { rights: 'permissions', guides: 'discovery', notices: 'notifications' }
const LABEL_WIDTH = 13
const CHECK_WIDTH = 15

module.exports = {
  name: 'doctor',
  summary: 'diagnose connectivity, permissions and configuration',
  isFleets: true,
  options: { json: { text: 'print JSON' } },
  text: `Checks each step that a process with the cache takes, and suggests a fix for each step that fails. For Redis: DNS, TCP, TLS,
login, version, Sentinel or cluster, primary or replica, each required permission (with --role reader: those of a reader),
update notifications, eviction policy, latency. For a directory: owner, mode, access, lock. Then the definitions and their
size, and with --local-copy this host's copy.

It needs only the permissions of a process with the cache. If the user lacks another one (INFO, for the eviction policy), that
check is reported as \`not checked\`. It changes nothing: it tries each permission with a command that has no effect.`,
  exitCodes: [
    ['0', 'usable; warnings are possible'],
    ['1', 'at least one error'],
  ],
  examples: [
    ['doctor', 'where your service runs, with its environment'],
    ['doctor --role reader', 'as the user of processes that only read'],
    ['doctor --json | jq \'.findings[] | select(.verdict != "ok")\'', 'only the problems'],
  ],

  async run({ values, options, output }) {
    const findings = (await openStore(options).examine()).map(({ message, advice, ...finding }) => ({
      ...finding,
      message: inOurWords(message),
      advice: advice && inOurWords(advice),
    }))
    const count = (verdict) => findings.filter((finding) => finding.verdict === verdict).length
    const errors = count('error')
    if (values.json) output.json({ isUsable: errors === 0, findings })
    else {
      for (const finding of findings) show(finding, output)
      output.line()
      output.line([counted(errors, 'error'), counted(count('warning'), 'warning')].join(', '))
    }
    return errors === 0 ? 0 : 1
  },
}

function show({ check, verdict, message, advice }, output) {
  const [label, style] = LABELS[verdict]
  output.line(output.paint(style, label.padEnd(LABEL_WIDTH)), `${(NAMES[check] ?? check).padEnd(CHECK_WIDTH)}${message}`)
  if (advice !== null) output.line(`${' '.repeat(LABEL_WIDTH + CHECK_WIDTH)}→ ${advice}`)
}
