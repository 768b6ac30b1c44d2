// What the main thread pays, as a chart of bars.

import { INK, niceStep, OUR_COLOUR, RULE, round, SOFT, svg, text } from '../svg.mjs'
import { medians, time } from './report.mjs'
import { ROWS } from './rounds.mjs'
import { KINDS, OURS } from './subjects.mjs'

const WIDTH = 880
const PLOT = { left: 24, right: 800, top: 104 }
const BAR = 17
const NAME_WIDTH = 150
const GROUP_HEAD = 30
const GROUP_GAP = 14
const COLOURS = { [OURS]: OUR_COLOUR, ioredis: '#8a6d3b', 'node-redis': '#4f7a94', 'valkey-glide': '#6b8e5a' }
const FLOOR_NAMES = { parse: 'JSON.parse', stringify: 'JSON.stringify' }

/** `size`: what dev/bench.mjs measured with `title` of definitions; `conditions` in a line. */
export function figure({ results }, title, conditions) {
  const rows = ROWS.filter(({ kinds }) => kinds === undefined)
  const cpu = (id, kind) => medians(results[id][kind]).cpuMs
  const most = Math.max(...rows.flatMap(({ id }) => KINDS.map((kind) => cpu(id, kind))))
  const step = niceStep(most)
  const x = (ms) => PLOT.left + NAME_WIDTH + (ms / most) * (PLOT.right - PLOT.left - NAME_WIDTH)
  const content = [
    text(24, 40, `What ${title} of flag definitions cost the main thread`, { size: 21, weight: 700 }),
    text(24, 64, 'CPU time of one call, in milliseconds; the dotted line is the floor: the bare parsing, or writing, of the same JSON', { size: 14, fill: SOFT }),
  ]
  let top = PLOT.top
  const rules = []
  for (const { id, title: heading, floor } of rows) {
    content.push(text(PLOT.left, top + 18, heading, { size: 14, weight: 700 }))
    top += GROUP_HEAD
    const from = top
    for (const kind of KINDS) {
      content.push(bar(kind, cpu(id, kind), x, top))
      top += BAR
    }
    const at = x(cpu(floor, 'floor'))
    content.push(
      `<path d="M${round(at)} ${from - 6}V${top}" stroke="${INK}" stroke-width="1.5" stroke-dasharray="2 3"/>`,
      text(at, from - 10, `${FLOOR_NAMES[floor]} ${time(cpu(floor, 'floor'))}`, { size: 11.5, fill: SOFT, anchor: 'middle' }),
    )
    rules.push([from - 4, top])
    top += GROUP_GAP
  }
  const grid = rules.flatMap(([from, to]) => steps(most, step).map((ms) => `<path d="M${round(x(ms))} ${from}V${to}" stroke="${ms === 0 ? INK : RULE}"/>`))
  content.splice(2, 0, ...grid)
  const height = top + 30
  content.push(text(24, height - 18, conditions, { size: 11.5, fill: SOFT }))
  return svg({ width: WIDTH, height, title: `What ${title} of flag definitions cost the main thread`, content })
}

const steps = (most, step) => Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step)

function bar(kind, ms, x, top) {
  const [colour, weight] = [COLOURS[kind], kind === OURS ? 700 : 400]
  const length = Math.max(1, x(ms) - x(0))
  return text(x(0) - 8, top + 12.5, kind, { size: 12.5, fill: colour, weight, anchor: 'end' })
    + `<rect x="${round(x(0))}" y="${top + 2}" width="${round(length)}" height="${BAR - 4}" fill="${colour}"/>`
    + text(x(0) + length + 6, top + 12.5, time(ms), { size: 12.5, fill: colour, weight })
}
