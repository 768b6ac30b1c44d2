// Puts the outcomes of the faults where docs/reliability.md has room for them.

import { readFileSync, writeFileSync } from 'node:fs'

const DOCUMENT = new URL('../../docs/reliability.md', import.meta.url)
const [OPENING, CLOSING] = ['<!-- chaos:table -->', '<!-- /chaos:table -->']

/** Each of `{ family, fault, tookMs, told, calls }`. */
export function writeOutcomes(outcomes) {
  const text = readFileSync(DOCUMENT, 'utf8')
  const [from, to] = [text.indexOf(OPENING), text.indexOf(CLOSING)]
  if (from < 0 || to < from) throw new Error(`docs/reliability.md has no ${OPENING} … ${CLOSING}`)
  const families = [...new Set(outcomes.map(({ family }) => family))]
  const rows = families.flatMap((family) => [`| **${family}** | | |`, ...outcomes.filter((outcome) => outcome.family === family).map(row)])
  const table = ['| what happens | what is reported meanwhile | shared again after |', '|---|---|---|', ...rows].join('\n')
  writeFileSync(DOCUMENT, `${text.slice(0, from + OPENING.length)}\n\n${table}\n\n${text.slice(to)}`)
}

function row({ fault, told, tookMs }) {
  const codes = [...told].sort().map((code) => `\`${code}\``).join(', ')
  return `| ${fault.name} | ${codes || 'nothing'} | ${(Math.ceil(tookMs / 100) / 10).toFixed(1)} s |`
}
