// `npm run bench:fleet`: docs/design.md's table, measured. Each number comes from real posthog-node processes,
// a stand-in for PostHog and a private Redis; the kinds take turns, so that a busy machine hits all alike.

import { writeFileSync } from 'node:fs'
import { constants, cpus } from 'node:os'
import { parseArgs } from 'node:util'

import { ROWS } from './bench-rows.mjs'
import { now } from './clock.mjs'
import { Fleet } from './fleet.mjs'
import { startPostHogApi } from './posthog-api.mjs'
import { canShareEtag, OURS, oursIsBuilt, PEERS, prepareProvider } from './providers.mjs'
import { startRedis } from './redis.mjs'

const USAGE = `npm run bench:fleet [-- options]
  --runs N         how often each row is measured (default 3)
  --poll MS        polling interval (default 500)
  --rows A,B       only these of: ${ROWS.map(({ id }) => id).join(', ')}
  --kinds A,B      only these of: ${[...Object.keys(PEERS), OURS].join(', ')}
  --json [FILE]    the measurements as JSON, to FILE or instead of the table`

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '3' },
    poll: { type: 'string', default: '500' },
    rows: { type: 'string' },
    kinds: { type: 'string' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  },
})
if (args.help) {
  console.log(USAGE)
  process.exit(0)
}
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(128 + constants.signals[signal]))

const { built, reason } = oursIsBuilt()
const known = [...Object.keys(PEERS), ...(built ? [OURS] : [])]
const kinds = chosen('kinds', known)
const rows = chosen('rows', ROWS.map(({ id }) => id)).map((id) => ROWS.find((row) => row.id === id))
const runs = atLeast('runs', 1)
const pollMs = atLeast('poll', 100)
const sharedEtag = built && canShareEtag()
if (!built) console.error(`The package is not built ("npm run build"): the peers alone.\n${reason}`)

function chosen(option, all) {
  const names = args[option]?.split(',') ?? all
  const unknown = names.find((name) => !all.includes(name))
  if (unknown === undefined) return names
  console.error(`--${option}: unknown "${unknown}"\n${USAGE}`)
  process.exit(2)
}

function atLeast(option, least) {
  const value = Number(args[option])
  if (Number.isInteger(value) && value >= least) return value
  console.error(`--${option} takes a whole number from ${least}\n${USAGE}`)
  process.exit(2)
}

/** What one measurement may use; `close()` ends all of it. */
function createLab(kind, redis, projectKey) {
  const opened = []
  return {
    kind,
    redis,
    pollMs,
    async open({ pollMs: pollingIntervalMs = pollMs, ...options } = {}) {
      const api = await startPostHogApi({ projectKey, ...options })
      const shared = kind === OURS && sharedEtag
      const fleet = new Fleet({ api, kind, options: { url: redis.url }, pollingIntervalMs, sharedEtag: shared })
      opened.push(() => fleet.destroy(), () => api.close())
      return { api, fleet }
    },
    async provider() {
      const create = await prepareProvider(kind)
      const { provider, close } = create({ projectKey, pollingIntervalMs: pollMs, options: { url: redis.url } })
      opened.push(async () => {
        await provider.shutdown().catch(() => {})
        close()
      })
      return provider
    },
    async close() {
      for (const end of opened) await end()
    },
  }
}

async function measure(row, kind, run, redis) {
  const lab = createLab(kind, redis, `phc_${row.id}_${run}`)
  const startedAt = now()
  try {
    // Each measurement finds an empty Redis, so that no earlier one counts.
    await redis.client().flushall()
    const value = await row.run(lab)
    process.stderr.write(`run ${run}  ${row.id.padEnd(15)} ${kind.padEnd(19)} ${value}  (${Math.round((now() - startedAt) / 1000)} s)\n`)
    return value
  } finally {
    await lab.close()
  }
}

/** "7 to 9", "1", or the words that came up. */
function summary(values) {
  if (values.length === 0) return '–'
  if (!values.every(Number.isFinite)) return [...new Set(values)].sort().join(' or ')
  const [low, high] = [Math.min(...values), Math.max(...values)]
  return low === high ? String(low) : `${low} to ${high}`
}

function table(results) {
  const marked = kinds.includes(OURS) && !sharedEtag && rows.some((row) => row.sharedEtag)
  const titles = kinds.map((kind) => PEERS[kind]?.title ?? `**${OURS}**`)
  const line = (cells) => `| ${cells.join(' | ')} |`
  const body = rows.map((row) => {
    const cells = kinds.map((kind) => {
      const text = summary(results[row.id][kind])
      return kind === OURS ? `**${text}**${row.sharedEtag && !sharedEtag ? ' ¹' : ''}` : text
    })
    return line([row.title, ...cells, row.floor])
  })
  const note = marked ? ['', '¹ Without `flagCache.fetch`: the floor needs the fleet to share PostHog\'s ETag.'] : []
  return [line(['situation', ...titles, 'floor']), line(['---', ...titles.map(() => '---'), '---']), ...body, ...note].join('\n')
}

const redis = await startRedis()
const results = Object.fromEntries(rows.map(({ id }) => [id, Object.fromEntries(kinds.map((kind) => [kind, []]))]))
try {
  for (let run = 1; run <= runs; run += 1) {
    for (const row of rows) {
      // Another kind begins each time.
      const turn = kinds.map((_, index) => kinds[(index + run - 1) % kinds.length])
      for (const kind of turn) results[row.id][kind].push(await measure(row, kind, run, redis))
    }
  }
} finally {
  await redis.stop()
}

const conditions = { pollMs, runs, node: process.version, cpus: cpus().length, sharedEtag, results }
if (args.json && positionals[0]) writeFileSync(positionals[0], `${JSON.stringify(conditions, null, 2)}\n`)
if (args.json && !positionals[0]) console.log(JSON.stringify(conditions, null, 2))
else console.log(`${table(results)}\n\nPolls of ${pollMs} ms, ${runs} runs, Node ${process.version}, ${cpus().length} CPUs.`)
