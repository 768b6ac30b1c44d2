// What the main thread pays, as a chart of bars.

import { INK, niceStep, OUR_COLOUR, RULE, round, SOFT, svg, text } from '../svg.mjs'
import { medians, time } from './report.mjs'
import { ROWS } from './rounds.mjs'
import { KINDS, OURS } from './subjects.mjs'

const WIDTH = 880
const PLOT = { left: 24, right: 800, top: 86 }
const BAR = 17
const NAME_WIDTH = 150
/** Right of the longest heading. */
const FLOOR_NAME_FROM = 212
const GROUP_HEAD = 30
const GROUP_GAP = 14
const COLOURS = { [OURS]: OUR_COLOUR, ioredis: '#8a6d3b', 'node-redis': '#4f7a94', 'valkey-glide': '#6b8e5a' }
const FLOOR_NAMES = { parse: 'JSON.parse', firstParse: 'JSON.parse', stringify: 'JSON.stringify' }

/** `size`: what dev/bench/main-thread.mjs measured with `title` of definitions; `conditions` in a line. */
export function figure({ results }, title, conditions) {
  const rows = ROWS.filter(({ kinds }) => kinds === undefined)
  const cpu = (id, kind) => medians(results[id][kind]).cpuMs
  const most = Math.max(...rows.flatMap(({ id }) => KINDS.map((kind) => cpu(id, kind))))
  const step = niceStep(most)
  const x = (ms) => PLOT.left + NAME_WIDTH + (ms / most) * (PLOT.right - PLOT.left - NAME_WIDTH)
  const content = [
    text(24, 40, `What ${title} of flag definitions cost the main thread`, { size: 21, weight: 700 }),
    text(24, 64, 'CPU time of one call, in milliseconds. Dotted line: the minimum, which is to parse or to write the same JSON', {
      size: 14,
      fill: SOFT,
    }),
  ]
  let top = PLOT.top
  for (const { id, title: heading, floor } of rows) {
    const from = top + GROUP_HEAD
    const to = from + KINDS.length * BAR
    const floorMs = cpu(floor, 'floor')
    const at = round(x(floorMs))
    content.push(
      text(PLOT.left, top + 18, heading, { size: 14, weight: 700 }),
      ...steps(most, step).map((ms) => `<path d="M${round(x(ms))} ${from - 4}V${to}" stroke="${ms === 0 ? INK : RULE}"/>`),
      text(Math.max(FLOOR_NAME_FROM, at), from - 10, `${FLOOR_NAMES[floor]} ${time(floorMs)}`, { size: 11.5, fill: SOFT }),
      ...KINDS.map((kind, index) => bar(kind, x(0), x(cpu(id, kind)), from + index * BAR)),
      `<path d="M${at} ${from - 6}V${to}" stroke="${INK}" stroke-width="1.5" stroke-dasharray="2 3"/>`,
      ...KINDS.map((kind, index) => label(kind, x(0), x(cpu(id, kind)), cpu(id, kind), from + index * BAR)),
    )
    top = to + GROUP_GAP
  }
  const height = top + 30
  content.push(text(24, height - 18, conditions, { size: 11.5, fill: SOFT }))
  return svg({ width: WIDTH, height, title: `What ${title} of flag definitions cost the main thread`, content })
}

const steps = (most, step) => Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step)

function bar(kind, from, to, top) {
  return `<rect x="${round(from)}" y="${top + 2}" width="${round(Math.max(1, to - from))}" height="${BAR - 4}" fill="${COLOURS[kind]}"/>`
}

function label(kind, from, to, ms, top) {
  const style = { size: 12.5, fill: COLOURS[kind], weight: kind === OURS ? 700 : 400 }
  return text(from - 8, top + 12.5, kind, { ...style, anchor: 'end' }) + text(to + 7, top + 12.5, time(ms), { ...style, halo: true })
}
