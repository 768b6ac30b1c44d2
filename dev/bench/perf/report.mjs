// The measurements in tables.

import { median } from './instruments.mjs'
import { FLOORS, ROWS } from './rounds.mjs'
import { KINDS, OURS, PEERS } from './subjects.mjs'

/** The size that the headline and the figure are about. */
export const HEADLINE_SIZE = '5MB'

const bold = (kind, text) => (kind === OURS ? `**${text}**` : text)
const spaced = (size) => size.replace(/(?=[KM]B)/, ' ')

/** The medians of one size, as a Markdown table; `measured` as dev/bench/main-thread.mjs collects it. */
export function sizeTable({ results }) {
  const titles = [
    'call',
    'provider',
    'CPU, main thread',
    '÷ minimum',
    'longest block',
    'longest GC pause',
    'CPU, all threads',
    'garbage',
    'Redis traffic',
    'wall time',
  ]
  const lines = ROWS.flatMap(({ id, title, floor, traffic, kinds = KINDS }) =>
    kinds.map((kind, index) => {
      const found = medians(results[id][kind])
      const ratio = found.cpuMs / medians(results[floor].floor).cpuMs
      return [index === 0 ? title : '', bold(kind, kind), ...costs(found, bold(kind, times(ratio)), size(found[traffic]))]
    }),
  )
  const floors = FLOORS.map(({ id, title }, index) => [index === 0 ? 'minimum' : '', title, ...costs(medians(results[id].floor), '', '')])
  return markdown([titles, ...lines, ...floors], 2)
}

function costs({ cpuMs, processCpuMs, blockMs, gcMs, allocatedBytes, wallMs }, ratio, traffic) {
  return [
    time(cpuMs),
    ratio,
    time(blockMs),
    gcMs === 0 ? '' : time(gcMs),
    time(processCpuMs),
    garbage(allocatedBytes),
    traffic,
    time(wallMs),
  ]
}

export function footprintTable(footprint) {
  const lines = KINDS.map((kind) => {
    const { loadMs, memoryBytes, installedBytes, packages } = footprint[kind]
    return [bold(kind, kind), time(median(loadMs)), size(median(memoryBytes)), size(installedBytes), String(packages)]
  })
  return markdown([['provider', 'load time', 'memory once connected', 'size on disk', 'packages'], ...lines], 1)
}

/** The summary in the README. */
export function headline({ sizes, footprint }) {
  const { flags, results } = sizes[HEADLINE_SIZE]
  const cpu = (id, kind) => medians(results[id][kind]).cpuMs
  const among = (id) =>
    range(
      PEERS.map((kind) => cpu(id, kind)),
      time,
    )
  const of = (measure) => median(footprint[OURS][measure])
  const theirs = (measure, unit) =>
    range(
      PEERS.map((kind) => median(footprint[kind][measure])),
      unit,
    )
  const definitions = `${spaced(HEADLINE_SIZE)} of definitions (${flags.toLocaleString('en-US')} flags)`
  const lines = [
    ['main-thread CPU time of a poll, nothing changed', time(cpu('unchanged', OURS)), among('unchanged')],
    ['main-thread CPU time of a poll, one flag edited', time(cpu('changed', OURS)), among('changed')],
    ['load time of the package', time(of('loadMs')), theirs('loadMs', time)],
    ['memory once connected', size(of('memoryBytes')), theirs('memoryBytes', size)],
    [
      'size on disk',
      size(footprint[OURS].installedBytes),
      range(
        PEERS.map((kind) => footprint[kind].installedBytes),
        size,
      ),
    ],
  ]
  const titles = [definitions, '**posthog-flag-cache**', 'the same provider on ioredis, node-redis or valkey-glide']
  return markdown([titles, ...lines.map(([title, ours, others]) => [title, bold(OURS, ours), others])], 1)
}

export const medians = (lists) => Object.fromEntries(Object.entries(lists).map(([name, numbers]) => [name, median(numbers)]))

/** "0.12 ms", "6.3 ms", "71 ms"; nothing that is within the error of the measurement. */
export const time = (ms) => (ms < 0.05 ? '< 0.05 ms' : `${precise(ms)} ms`)

const times = (ratio) => `${ratio < 0.01 ? '< 0.01' : precise(ratio)} ×`

/** A collection of some kilobytes is nobody's concern, and within what the measurement itself allocates. */
const garbage = (bytes) => (bytes < 10_000 ? '< 10 KB' : size(bytes))

export function size(bytes) {
  const [unit, power] = [
    ['MB', 1e6],
    ['KB', 1e3],
  ].find(([, least]) => bytes >= least) ?? ['B', 1]
  return unit === 'B' ? `${Math.round(bytes)} B` : `${precise(bytes / power)} ${unit}`
}

/** Two digits are what a noisy machine allows. */
const precise = (number) => number.toFixed(number < 0.995 ? 2 : number < 9.95 ? 1 : 0)

/** "68 to 77 ms": one unit for both, where it is the same. */
function range(numbers, unit) {
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)].map(unit)
  if (low === high) return low
  const suffix = high.slice(high.indexOf(' '))
  return `${low.endsWith(suffix) ? low.slice(0, -suffix.length) : low} to ${high}`
}

/** Padded, because it is read in a terminal too; the first `words` columns are no numbers. */
export function markdown(lines, words) {
  const widths = lines[0].map((_, column) => Math.max(3, ...lines.map((cells) => cells[column].length)))
  const row = (cells) =>
    `| ${cells.map((cell, column) => (column < words ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join(' | ')} |`
  const rule = widths.map((width, column) => (column < words ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [row(lines[0]), row(rule), ...lines.slice(1).map(row)].join('\n')
}
