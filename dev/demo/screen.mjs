// What `npm run demo` shows: a table redrawn in place on a terminal, plain lines elsewhere.

const WIDTH = 80
const EVENTS_SHOWN = 6
const ROWS_NEEDED = 27

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 }

export class DemoScreen {
  #live
  #drawn = 0
  #events = []

  constructor({ stream = process.stdout, env = process.env } = {}) {
    this.stream = stream
    const roomy = (stream.columns ?? 0) >= WIDTH && (stream.rows ?? 0) >= ROWS_NEEDED
    this.#live = Boolean(stream.isTTY) && !env.NO_COLOR && env.TERM !== 'dumb' && roomy
    if (!this.#live) return
    stream.write('\x1b[?25l')
    process.once('exit', () => stream.write('\x1b[?25h'))
  }

  get live() {
    return this.#live
  }

  /** Something that happened, `seconds` after the start. */
  event(seconds, text) {
    const line = `${seconds.toFixed(1).padStart(6)} s  ${text}`
    this.#events.push(line)
    if (!this.#live) this.stream.write(`${line}\n`)
  }

  /** Shows the state of the demo; without a terminal, nothing. */
  draw(state) {
    if (!this.#live) return
    const lines = [
      ...this.#header(state),
      ...table(state, this.paint),
      '',
      ...this.#events.slice(-EVENTS_SHOWN).map((line) => this.paint('dim', clip(line))),
    ]
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : ''
    this.stream.write(`${up}\r${lines.map((line) => `${line}\x1b[K\n`).join('')}\x1b[J`)
    this.#drawn = lines.length
  }

  /** Text that stays, below the table. */
  write(text = '') {
    this.stream.write(`${text}\n`)
  }

  paint = (style, text) => (this.#live ? `\x1b[${CODES[style]}m${text}\x1b[0m` : text)

  #header({ title, phases, current, seconds }) {
    const marks = phases.map((phase, index) => {
      if (index < current) return this.paint('green', `✓ ${phase}`)
      return index === current ? this.paint('bold', `▸ ${phase}`) : this.paint('dim', `· ${phase}`)
    })
    return ['', `  ${this.paint('bold', title)}`, '', `  ${marks.join('  ')}  ${this.paint('dim', `${seconds.toFixed(0)} s`)}`, '']
  }
}

const LABEL = 14
const COLUMN = 32

function table({ sides, slots }, paint) {
  const row = (label, cells) => `  ${label.padEnd(LABEL)}${cells.join('')}`
  const cell = (text, style) => {
    const padded = text.padEnd(COLUMN)
    return style ? paint(style, padded) : padded
  }
  const processes = Array.from({ length: slots }, (_, slot) =>
    row(
      `process ${slot + 1}`,
      sides.map((side) => {
        const { text, style } = place(side, slot)
        return cell(text, style)
      }),
    ),
  )
  return [
    row(
      '',
      sides.map((side) => cell(side.title, 'bold')),
    ),
    ...processes,
    row(
      'Python, edge',
      sides.map(({ visitors, shared }) => cell(...visitorsInWords(visitors, shared))),
    ),
    '',
    row(
      'calls',
      sides.map(({ api }) => cell(callsInWords(api))),
    ),
    row(
      'bill so far',
      sides.map(({ api, shared }) => cell(`${api.bill} flag requests`, shared ? 'green' : 'yellow')),
    ),
  ]
}

/** The process at one place of the fleet, in a few words. */
function place({ fleet, shared, latest }, slot) {
  const here = fleet.all.filter((worker) => worker.slot === slot)
  const serving = here.find((worker) => worker.alive && worker.version !== null) ?? here.at(-1)
  if (!serving) return { text: '–', style: 'dim' }
  const id = serving.id.padEnd(5)
  if (!serving.alive) return { text: `${id}${serving.ended.signal ? 'killed' : 'ended'}`, style: 'red' }
  if (serving.version === null) return { text: `${id}starting`, style: 'dim' }
  const successor = here.find((worker) => worker.alive && worker !== serving)
  const notes = [shared && fleet.leader === serving && '★ calls PostHog', successor && `→ ${successor.id}`].filter(Boolean)
  const style = serving.version === latest() ? undefined : 'yellow'
  return { text: `${id}${serving.version.padEnd(5)}${notes.join('  ')}`, style: style ?? (notes[0]?.startsWith('★') ? 'cyan' : undefined) }
}

/** The SDKs of the second scene: which version each of them evaluates. */
function visitorsInWords(visitors, shared) {
  if (!visitors) return ['–', 'dim']
  return [`${visitors.all.map(({ version }) => (version ?? '–').padEnd(5)).join('')}${shared ? 'through a relay' : ''}`]
}

/** `12 (2 new, 10 unchanged)` */
export function callsInWords(api) {
  const [changed, unchanged] = [api.count(200), api.count(304)]
  return `${changed + unchanged} (${changed} new, ${unchanged} unchanged)`
}

function clip(text) {
  return text.length > WIDTH ? `${text.slice(0, WIDTH - 1)}…` : text
}
