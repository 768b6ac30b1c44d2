// `npm run bench`: what the cache costs the main thread, beside the provider that anyone would write on three Redis clients.
// The tables and the figure of docs/performance.md, and the headline of README.md.

import { readFileSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'

import { atLeast, begin, progress, refuse } from './command.mjs'
import { writeDocs } from './docs.mjs'
import { largeDefinitions } from './large-definitions.mjs'
import { machine } from './machine.mjs'
import { CLIENTS } from './perf/clients.mjs'
import { figure } from './perf/figure.mjs'
import { measureFootprint } from './perf/footprint.mjs'
import { footprintTable, headline, HEADLINE_SIZE, sizeTable } from './perf/report.mjs'
import { measureSize } from './perf/rounds.mjs'
import { startRedis } from '../harness/redis.mjs'

const SIZES = { '50KB': 50_000, '500KB': 500_000, '5MB': 5_000_000, '20MB': 20_000_000 }
const SEED = 1
/** A load takes milliseconds, so that many of them cost little. */
const FOOTPRINT_ROUNDS = 9
const DOCUMENT = 'docs/performance.md'
const FIGURE = 'docs/performance.svg'

const USAGE = `npm run bench [-- options]
  --sizes A,B      only these of: ${Object.keys(SIZES).join(', ')}
  --rounds N       how often everything is measured (default 5)
  --write          everything, into ${DOCUMENT}, ${FIGURE} and README.md
  --json FILE      the measurements as JSON
  --from FILE      those of an earlier --json instead of new ones
A quick look, in a minute: npm run bench -- --sizes 500KB --rounds 1`

const args = begin(USAGE, {
  sizes: { type: 'string', default: Object.keys(SIZES).join() },
  rounds: { type: 'string', default: '5' },
})
const names = args.sizes.split(',')
if (!names.every((name) => Object.hasOwn(SIZES, name))) refuse(`--sizes takes some of ${Object.keys(SIZES).join(', ')}\n${USAGE}`)
const rounds = atLeast(args, 'rounds', 1, USAGE)
if (args.write && names.length < Object.keys(SIZES).length) refuse(`--write takes all sizes\n${USAGE}`)

async function measureAll() {
  const sizes = {}
  const [loadBefore] = loadavg()
  const redis = await startRedis()
  const footprint = await measureFootprint({ rounds: FOOTPRINT_ROUNDS, redis, progress })
  await redis.stop()
  for (const name of names) {
    const bytes = SIZES[name]
    const own = await startRedis()
    const results = await measureSize({ bytes, rounds, seed: SEED, redis: own, progress: (text) => progress(`${name}  ${text}`) })
    await own.stop()
    sizes[name] = { flags: largeDefinitions({ bytes, seed: SEED }).flags.length, results }
  }
  const packages = ['posthog-node', ...Object.values(CLIENTS).map(({ module }) => module)]
  return { rounds, machine: machine(packages), loadBefore, sizes, footprint }
}

const measured = args.from ? JSON.parse(readFileSync(args.from, 'utf8')) : await measureAll()
if (args.json) writeFileSync(args.json, `${JSON.stringify(measured)}\n`)

const note = `Medians of ${measured.rounds} round${measured.rounds === 1 ? '' : 's'}. ${measured.machine}.`
// CPU time bears it; everything that is told by the clock grows with it.
const busy = `Load average before the start: ${measured.loadBefore.toFixed(1)}.`
const tables = Object.entries(measured.sizes).map(([name, size]) => {
  const heading = `### ${name.replace(/(?=[KM]B)/, ' ')}, ${size.flags.toLocaleString('en-US')} flags`
  return `${heading}\n\n${sizeTable(size)}`
})
const footprint = footprintTable(measured.footprint)
console.log([...tables, '### Footprint', footprint, `${note} ${busy}`].join('\n\n'))

if (args.write) {
  const title = HEADLINE_SIZE.replace('MB', ' MB')
  writeFileSync(new URL(`../../${FIGURE}`, import.meta.url), figure(measured.sizes[HEADLINE_SIZE], title, note))
  writeDocs(DOCUMENT, { 'bench:sizes': `\n${tables.join('\n\n')}\n\n${note} ${busy}\n`, 'bench:footprint': `\n${footprint}\n` })
  writeDocs('README.md', { 'bench:cost': `\n${headline(measured)}\n` })
}
