// The measurements as a Markdown table.

import { OURS, PEERS } from '../harness/providers.mjs'

/** `results[row.id][kind]`: what was measured, a value for each run. */
export function table(rows, kinds, results) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  const titles = kinds.map((kind) => PEERS[kind]?.title ?? `**${OURS}**`)
  const body = rows.map((row) => {
    const cells = kinds.map((kind) => {
      const text = summary(results[row.id][kind], row.unit)
      return kind === OURS ? `**${text}**` : text
    })
    return line([row.title, ...cells, row.floor])
  })
  return [line(['situation', ...titles, 'theoretical minimum']), line(['---', ...titles.map(() => '---'), '---']), ...body].join('\n')
}

/** "7 to 9", "1", "8 to 12 ms", "27 s", or the words that came up. */
function summary(values, unit) {
  if (!values.every(Number.isFinite)) return inWords(values)
  const inSeconds = unit === 'ms' && Math.max(...values) >= 1_000
  const suffix = unit === 'ms' ? ` ${inSeconds ? 's' : 'ms'}` : ''
  return `${range(values.map((value) => Math.round(inSeconds ? value / 1_000 : value)))}${suffix}`
}

/** "stuck on v2", "v1 within 5 to 6 polls", or each that came up. */
function inWords(values) {
  const polls = /\d+(?= polls?)/
  const alike = (text) => values.filter((value) => value.replace(polls, '#') === text)
  const texts = [...new Set(values.map((value) => value.replace(polls, '#')))].sort()
  return texts.map((text) => text.replace('#', () => range(alike(text).map((value) => Number(polls.exec(value)))))).join(' or ')
}

function range(numbers) {
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)]
  return low === high ? String(low) : `${low} to ${high}`
}
