// Puts the outcomes of the faults where docs/reliability.md has room for them.

import { readFileSync, writeFileSync } from 'node:fs'

import { FAULTS } from '../../dev/faults/index.mjs'

const DOCUMENT = new URL('../../docs/reliability.md', import.meta.url)
const [OPENING, CLOSING] = ['<!-- chaos:table -->', '<!-- /chaos:table -->']

/** One of each fault: `{ fault, tookMs, told }`. */
export function writeOutcomes(outcomes) {
  const text = readFileSync(DOCUMENT, 'utf8')
  const [from, to] = [text.indexOf(OPENING), text.indexOf(CLOSING)]
  if (from < 0 || to < from) throw new Error(`docs/reliability.md has no ${OPENING} … ${CLOSING}`)
  const rows = Object.entries(FAULTS).flatMap(([family, faults]) => [
    `| **${family}** | | |`,
    ...faults.map((fault) => row(outcomes.find((outcome) => outcome.fault === fault))),
  ])
  const table = ['| what happens | what is reported meanwhile | shared again after |', '|---|---|---|', ...rows].join('\n')
  writeFileSync(DOCUMENT, `${text.slice(0, from + OPENING.length)}\n\n${table}\n\n${text.slice(to)}`)
}

function row({ fault, told, tookMs }) {
  const codes = [...told].sort().map((code) => `\`${code}\``).join(', ')
  return `| ${fault.name} | ${codes || 'nothing'} | ${(Math.ceil(tookMs / 100) / 10).toFixed(1)} s |`
}
