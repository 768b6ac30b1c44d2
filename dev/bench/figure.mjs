// The story's bills as a chart.

import { EVENTS, STORY_LENGTH } from './story.mjs'
import { PRODUCTION_POLL_MS } from '../peers/scale.mjs'
import { OURS } from '../harness/providers.mjs'
import { INK, niceStep, OUR_COLOUR, round, RULE, SOFT, svg, text } from './svg.mjs'

const WIDTH = 880
const HEIGHT = 510
const PLOT = { left: 66, right: 652, top: 134, bottom: 440 }
const EVENTS_BASELINE = 104
const LABEL_GAP = 34
const BAND = '#f1eee6'

const LINES = {
  none: { name: 'without a cache', colour: INK },
  docstring: { name: "posthog-node's example", colour: '#8a6d3b' },
  kilo: { name: "Kilo's pull request", colour: '#4f7a94' },
  python: { name: "posthog-python's example", colour: '#6b8e5a' },
  [OURS]: { name: OURS, colour: OUR_COLOUR, width: 3.5, bold: true },
}

const MINUTES = (STORY_LENGTH * PRODUCTION_POLL_MS) / 60_000
const x = (polls) => PLOT.left + (polls / STORY_LENGTH) * (PLOT.right - PLOT.left)

/** `stories` as dev/bench/story.mjs tells them; `conditions` in a line. */
export function figure(stories, conditions) {
  const most = Math.max(...stories.map(({ bill }) => bill))
  const step = niceStep(most)
  const top = Math.ceil(most / step) * step
  const y = (bill) => PLOT.bottom - (bill / top) * (PLOT.bottom - PLOT.top)
  const drawn = [...stories].sort((a, b) => (a.kind === OURS) - (b.kind === OURS))
  const content = [
    text(24, 40, headline(stories), { size: 21, weight: 700 }),
    text(24, 64, 'What PostHog bills 8 posthog-node processes for flag definitions, added up over the same half hour', {
      size: 14,
      fill: SOFT,
    }),
    ...EVENTS.map(event),
    ...grid(top, step, y),
    ...drawn.map((story) => line(story, y)),
    ...labels(stories, y),
    text(24, HEIGHT - 18, conditions, { size: 11.5, fill: SOFT }),
  ]
  return svg({ width: WIDTH, height: HEIGHT, title: headline(stories), content })
}

/** The figure's message, and its text where it cannot be seen. */
export function headline(stories) {
  const bill = (kind) => thousands(stories.find((story) => story.kind === kind).bill)
  return `Eight processes are billed ${bill(OURS)} flag requests in half an hour, not ${bill('none')}`
}

function grid(top, step, y) {
  const rules = [text(PLOT.left + 4, PLOT.top - 6, 'flag requests', { size: 12.5, fill: SOFT })]
  for (let bill = 0; bill <= top; bill += step) {
    const at = y(bill)
    rules.push(`<path d="M${PLOT.left} ${round(at)}H${PLOT.right}" stroke="${bill === 0 ? INK : RULE}"/>`)
    rules.push(text(PLOT.left - 8, at + 4, thousands(bill), { size: 12.5, fill: SOFT, anchor: 'end' }))
  }
  for (let minute = 0; minute <= MINUTES; minute += 5) {
    const at = x((minute * 60_000) / PRODUCTION_POLL_MS)
    rules.push(`<path d="M${round(at)} ${PLOT.bottom}v5" stroke="${INK}"/>`)
    rules.push(text(at, PLOT.bottom + 20, minute === MINUTES ? `${minute} minutes` : minute, { size: 12.5, fill: SOFT, anchor: 'middle' }))
  }
  return rules
}

function event({ at, until, label }) {
  const [from, to] = [x(at), x(until ?? at)]
  const above = EVENTS_BASELINE + 6
  if (at === 0) return text(from, EVENTS_BASELINE, label, { size: 12.5 })
  const mark =
    until === undefined
      ? `<path d="M${round(from)} ${above}V${PLOT.bottom}" stroke="${SOFT}" stroke-dasharray="1.5 3"/>`
      : `<rect x="${round(from)}" y="${above}" width="${round(to - from)}" height="${PLOT.bottom - above}" fill="${BAND}"/>`
  return mark + text((from + to) / 2, EVENTS_BASELINE, label, { size: 12.5, anchor: 'middle' })
}

function line({ kind, calls }, y) {
  const { colour, width = 2 } = LINES[kind]
  let bill = 0
  const path = [`M${round(x(0))} ${round(y(0))}`]
  for (const { at, billed } of calls) {
    if (billed === 0 || at > STORY_LENGTH) continue
    bill += billed
    path.push(`H${round(x(at))}V${round(y(bill))}`)
  }
  path.push(`H${round(x(STORY_LENGTH))}`)
  return `<path d="${path.join('')}" fill="none" stroke="${colour}" stroke-width="${width}" stroke-linejoin="round"/>`
}

/** Each line's name and sum at its end, moved apart where they would touch. */
function labels(stories, y) {
  const placed = stories.map(({ kind, bill }) => ({ kind, bill, end: y(bill) })).sort((a, b) => b.end - a.end)
  let lowest = PLOT.bottom - 4
  for (const label of placed) {
    label.at = Math.min(label.end, lowest)
    lowest = label.at - LABEL_GAP
  }
  return placed.map(({ kind, bill, end, at }) => {
    const { name, colour, bold } = LINES[kind]
    const from = x(STORY_LENGTH)
    const join = `<path d="M${round(from + 3)} ${round(end)}L${round(from + 14)} ${round(at)}" stroke="${colour}"/>`
    return (
      join +
      text(from + 19, at + 1, thousands(bill), { size: 15, weight: 700, fill: colour }) +
      text(from + 19, at + 15, name, { size: 12.5, weight: bold ? 700 : 400, fill: colour })
    )
  })
}

const thousands = (number) => Math.round(number).toLocaleString('en-US')
