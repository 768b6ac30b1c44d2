// Tables of outcomes in docs/reliability.md.

import { writeDocs } from '../../dev/bench/docs.mjs'

export const seconds = (ms) => `${(Math.ceil(ms / 100) / 10).toFixed(1)} s`

export const codesOf = (told) =>
  [...told]
    .sort()
    .map((code) => `\`${code}\``)
    .join(', ') || 'nothing'

/** The rows of all families, each below its name. `cellsOf` gives the cells of one member. */
export const inFamilies = (families, width, cellsOf) =>
  Object.entries(families).flatMap(([family, members]) => [[`**${family}**`, ...Array(width - 1).fill('')], ...members.map(cellsOf)])

/** Puts a table where the page says `<!-- name -->`; `columns` and each row are lists of cells. */
export function writeTable(name, columns, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`.replaceAll('|  |', '| |').replaceAll('|  |', '| |')
  const table = [line(columns), `|${'---|'.repeat(columns.length)}`, ...rows.map(line)].join('\n')
  writeDocs('docs/reliability.md', { [name]: `\n${table}\n` })
}
