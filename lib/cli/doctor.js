'use strict'

const { counted } = require('./output.js')
const { openStore } = require('./store.js')

const LABELS = {
  ok: ['ok', 'green'],
  warning: ['warning', 'yellow'],
  error: ['error', 'red'],
  unchecked: ['not checked', 'dim'],
}
const LABEL_WIDTH = 13
const CHECK_WIDTH = 13

module.exports = {
  name: 'doctor',
  summary: 'can this machine and this user use this store? what to do if not',
  isFleets: true,
  options: { json: { text: 'as JSON' } },
  text: `Goes the whole way that a worker goes, and says of each step whether it works, and what to do where it does not. For Redis: name,
TCP, TLS, login, version, Sentinel or cluster, master or replica, each right that a worker needs (with --role reader: those of
a reader), notices, eviction policy, latency. For a directory: owner, mode, access, lock. Then the definitions and their size, and
with --local-copy this host's copy of them.

It needs no other rights than a worker. What the user may not ask (INFO, for the eviction policy) is \`not checked\`. Nothing that
it does outlives it: each right is tried in a form that changes nothing.`,
  exitCodes: [
    ['0', 'usable; there may be warnings'],
    ['1', 'at least one error'],
  ],
  examples: [
    ['doctor', 'where your service runs, with its variables'],
    ['doctor --role reader', 'with the user of processes that only read'],
    ['doctor --json | jq \'.findings[] | select(.verdict != "ok")\'', 'what is not well'],
  ],

  async run({ values, options, output }) {
    const findings = await openStore(options).examine()
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
  output.line(output.paint(style, label.padEnd(LABEL_WIDTH)), `${check.padEnd(CHECK_WIDTH)}${message}`)
  if (advice !== null) output.line(`${' '.repeat(LABEL_WIDTH + CHECK_WIDTH)}→ ${advice}`)
}
