// `npm run bench:memory`: what a process has in memory after ten edits of large definitions, beyond posthog-node alone, beside the
// other providers. Exits with 1 if ours has more than the limit.

import { begin, progress } from './command.mjs'
import { writeDocs } from './docs.mjs'
import { largeDefinitions } from './large-definitions.mjs'
import { machine } from './machine.mjs'
import { median } from './perf/instruments.mjs'
import { markdown } from './perf/report.mjs'
import { sleep } from '../harness/clock.mjs'
import { Fleet } from '../harness/fleet.mjs'
import { startPostHogApi } from '../harness/posthog-api.mjs'
import { OURS, PEERS } from '../harness/providers.mjs'
import { startRedis } from '../harness/redis.mjs'

const DEFINITION_BYTES = 5_700_000
const EDITS = 10
const ROUNDS = 3
const POLL_MS = 1_000
const LIMIT_BYTES = 8e6

const args = begin('npm run bench:memory [-- --write]', {})

const { flags, cohorts } = largeDefinitions({ bytes: DEFINITION_BYTES })

/** The resident memory of the process that fetches, and of one that follows, after the edits and a collection. */
async function measure(kind) {
  const [redis, api] = await Promise.all([startRedis(), startPostHogApi()])
  const options = kind === 'none' ? {} : { url: redis.url }
  const fleet = new Fleet({ api, kind, options, pollingIntervalMs: POLL_MS, sharedEtag: kind === OURS, execArgv: ['--expose-gc'] })
  const edit = () =>
    api.edit((data) => {
      data.flags.push(...flags)
      Object.assign(data.cohorts, cohorts)
    })
  try {
    edit()
    const workers = await fleet.start(2, { timeoutMs: 60_000 })
    for (let n = 0; n < EDITS; n += 1) await fleet.everyone({ version: edit(), timeoutMs: 60_000 })
    // What the last edit needed for a moment is given back after a second.
    await sleep(3 * POLL_MS)
    for (const worker of workers) await worker.status()
    // The first collection frees buffers in the background; the second comes after that.
    await sleep(POLL_MS)
    const found = await Promise.all(workers.map((worker) => worker.status()))
    // Of the others, the process that was started first fetches.
    const leader = kind === OURS ? found.find(({ provider }) => provider.isLeader) : found[0]
    const follower = found.find((status) => status !== leader)
    return { leader: leader?.memory.rss, follower: follower.memory.rss }
  } finally {
    await fleet.destroy()
    await Promise.all([api.close(), redis.stop()])
  }
}

const KINDS = [OURS, ...Object.keys(PEERS)]
const ROLES = ['leader', 'follower']
const beyond = Object.fromEntries(KINDS.map((kind) => [kind, { leader: [], follower: [] }]))
for (let round = 1; round <= ROUNDS; round += 1) {
  const alone = await measure('none')
  for (const kind of KINDS) {
    const found = await measure(kind)
    for (const role of ROLES) beyond[kind][role].push(found[role] - alone[role])
  }
  progress(`round ${round} of ${ROUNDS}`)
}

const megabytes = (bytes) => `${Math.round(bytes / 1e6)} MB`
const rows = KINDS.map((kind) => [
  kind === OURS ? `**${kind}**` : PEERS[kind].title,
  ...ROLES.map((role) => `${megabytes(median(beyond[kind][role]))} (${beyond[kind][role].map(megabytes).join(', ')})`),
])
const table = markdown([['provider', 'leader', 'follower'], ...rows], 1)
console.log(table)
if (args.write) writeDocs('docs/performance.md', { 'bench:resident': `\n${table}\n\n${machine(['posthog-node'])}.\n` })
process.exitCode = Math.max(...ROLES.map((role) => median(beyond[OURS][role]))) > LIMIT_BYTES ? 1 : 0
