// `npm run bench:fleet`: the saving, the table and the figure of README.md, measured. Each number comes from real posthog-node
// processes, a stand-in for PostHog and a private Redis.

import { readFileSync, writeFileSync } from 'node:fs'

import { atLeast, begin, progress, refuse } from './command.mjs'
import { writeDocs } from './docs.mjs'
import { figure, headline } from './figure.mjs'
import { openLab } from './lab.mjs'
import { ROWS as BILL_ROWS } from './rows.mjs'
import { SPEED_ROWS } from './speed-rows.mjs'
import { tellStory } from './story.mjs'
import { table } from './table.mjs'
import { machine } from './machine.mjs'
import { OURS, PEERS } from '../harness/providers.mjs'

const ROWS = [...BILL_ROWS, ...SPEED_ROWS]
const KINDS = [...Object.keys(PEERS), OURS]
const STORY_POLL_MS = 1_000
const README_FIGURE = 'docs/bill.svg'

const USAGE = `npm run bench:fleet [-- options]
  --runs N         how often each row is measured (default 3)
  --poll MS        polling interval (default 500)
  --rows A,B       only these of: ${ROWS.map(({ id }) => id).join(', ')}; or none
  --kinds A,B      only these of: ${KINDS.join(', ')}
  --figure FILE    also draws the bills of one story, as SVG
  --write          everything, into README.md and ${README_FIGURE}
  --json FILE      the measurements as JSON
  --from FILE      those of an earlier --json instead of new ones`

const args = begin(USAGE, {
  runs: { type: 'string', default: '3' },
  poll: { type: 'string', default: '500' },
  rows: { type: 'string' },
  kinds: { type: 'string' },
  figure: { type: 'string' },
})
if (args.write && (args.rows ?? args.kinds) !== undefined) refuse(`--write takes all rows and kinds\n${USAGE}`)
const kinds = chosen('kinds', KINDS)
const rows =
  args.rows === 'none'
    ? []
    : chosen(
        'rows',
        ROWS.map(({ id }) => id),
      ).map((id) => ROWS.find((row) => row.id === id))
const runs = atLeast(args, 'runs', 1, USAGE)
const pollMs = atLeast(args, 'poll', 100, USAGE)
const figureFile = args.figure ?? (args.write ? README_FIGURE : undefined)

function chosen(option, all) {
  const names = args[option]?.split(',') ?? all
  const unknown = names.find((name) => !all.includes(name))
  return unknown === undefined ? names : refuse(`--${option}: unknown "${unknown}"\n${USAGE}`)
}

async function inLab(settings, work) {
  const lab = await openLab(settings)
  try {
    return await work(lab)
  } finally {
    await lab.close()
  }
}

async function measure(row, kind, run) {
  const value = await inLab({ kind, pollMs, projectKey: `phc_${row.id}_${run}` }, row.run)
  progress(`run ${run} of ${runs}`, row.id.padEnd(14), kind.padEnd(18), Number.isFinite(value) ? Math.round(value) : value)
  return value
}

async function measureRows() {
  const results = Object.fromEntries(rows.map(({ id }) => [id, Object.fromEntries(kinds.map((kind) => [kind, []]))]))
  for (let run = 1; run <= runs; run += 1) {
    for (const row of rows) {
      const one = async (kind) => results[row.id][kind].push(await measure(row, kind, run))
      if (!row.alone) await Promise.all(kinds.map(one))
      // Another kind begins each time.
      else for (const index of kinds.keys()) await one(kinds[(index + run - 1) % kinds.length])
    }
  }
  return results
}

function tellStories() {
  progress('the story of the figure, a minute')
  return Promise.all(
    ['none', ...KINDS].map((kind) =>
      inLab({ kind, pollMs: STORY_POLL_MS, projectKey: 'phc_story' }, async (lab) => {
        const story = await tellStory(lab)
        const stale = story.strays > 0 ? `${story.strays} processes are not up to date at the end` : ''
        progress('story', kind.padEnd(18), `${story.bill} billed`, stale)
        return story
      }),
    ),
  )
}

async function measureAll() {
  const results = await measureRows()
  const stories = figureFile && (await tellStories())
  return { pollMs, runs, machine: machine(['posthog-node']), results, stories }
}

const measured = args.from ? JSON.parse(readFileSync(args.from, 'utf8')) : await measureAll()
if (args.json) writeFileSync(args.json, `${JSON.stringify(measured, null, 2)}\n`)

const { stories } = measured
if (figureFile && !stories) refuse(`${args.from} has no story to draw`)
const note = `Each cell shows the lowest and the highest of ${measured.runs} runs of \`npm run bench:fleet -- --write\`, with real posthog-node processes, a
stand-in for PostHog's API and a private Redis. A *full fetch* returns all definitions, and PostHog bills it as 10 requests.

- *posthog-flag-cache* is used as in the quick start, with \`fetch\` and \`onUpdate\`.
- *posthog-node's example* is the pattern in the comment of \`FlagDefinitionCacheProvider\`: a lock without an owner for 60 s.
- *Kilo's pull request* (proposed for Kilo Code) is the same pattern with a lock for 90 s (\`SET NX\`).
- *posthog-python's example* is the pattern of \`examples/redis_flag_cache.py\`: a lock with an owner, changed in Lua.

The processes poll every ${measured.pollMs} ms. The lock and expiry times of the other providers are scaled to that interval. In the last
two rows, the results of these providers are scaled back to an interval of 30 s. A poll may start up to a tenth of an interval early.
The request of such a poll is not counted in the row of the rolling deploy. ${measured.machine}.`
const report = rows.length > 0 ? `${table(rows, kinds, measured.results)}\n\n${note}` : ''
console.log(report)
if (figureFile) {
  writeFileSync(
    figureFile,
    figure(stories, `Measured with polls of ${STORY_POLL_MS / 1000} s, drawn for polls of 30 s; ${measured.machine}`),
  )
}
if (args.write) {
  writeDocs('README.md', {
    'bench:saving': `\n**${headline(stories)}.** See the [comparison](#comparison-with-other-providers).\n`,
    'bench:table': `\n${report}\n`,
    'bench:figure': `\n![${headline(stories)}](${README_FIGURE})\n`,
  })
}
