// Puts the outcomes of the faults where docs/reliability.md has room for them.

import { writeDocs } from '../../dev/bench-docs.mjs'
import { FAULTS } from '../../dev/faults/index.mjs'

/** One of each fault: `{ fault, tookMs, told }`. */
export function writeOutcomes(outcomes) {
  const rows = Object.entries(FAULTS).flatMap(([family, faults]) => [
    `| **${family}** | | |`,
    ...faults.map((fault) => row(outcomes.find((outcome) => outcome.fault === fault))),
  ])
  const table = ['| what happens | what is reported meanwhile | shared again after |', '|---|---|---|', ...rows].join('\n')
  writeDocs('docs/reliability.md', { 'chaos:table': `\n${table}\n` })
}

function row({ fault, told, tookMs }) {
  const codes = [...told].sort().map((code) => `\`${code}\``).join(', ')
  return `| ${fault.name} | ${codes || 'nothing'} | ${(Math.ceil(tookMs / 100) / 10).toFixed(1)} s |`
}
