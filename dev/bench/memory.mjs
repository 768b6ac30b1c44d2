// `npm run bench:memory`: what a process has in memory after ten edits of large definitions, beyond posthog-node alone. Exits with
// 1 if that is more than the limit.

import { begin, progress } from './command.mjs'
import { largeDefinitions } from './large-definitions.mjs'
import { median } from './perf/instruments.mjs'
import { markdown } from './perf/report.mjs'
import { sleep } from '../harness/clock.mjs'
import { Fleet } from '../harness/fleet.mjs'
import { startPostHogApi } from '../harness/posthog-api.mjs'
import { OURS } from '../harness/providers.mjs'
import { startRedis } from '../harness/redis.mjs'

const DEFINITION_BYTES = 5_700_000
const EDITS = 10
const ROUNDS = 3
const POLL_MS = 1_000
const LIMIT_BYTES = 8e6

begin('npm run bench:memory', {})

const { flags, cohorts } = largeDefinitions({ bytes: DEFINITION_BYTES })

/** The resident memory of the process that fetches, and of one that follows, after the edits and a collection. */
async function measure(kind) {
  const [redis, api] = await Promise.all([startRedis(), startPostHogApi()])
  const options = kind === OURS ? { url: redis.url } : {}
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
    const isLeader = ({ provider }) => provider === null || provider.isLeader
    return {
      leader: found.find(isLeader)?.memory.rss,
      follower: found.findLast((status) => status.provider === null || !status.provider.isLeader)?.memory.rss,
    }
  } finally {
    await fleet.destroy()
    await Promise.all([api.close(), redis.stop()])
  }
}

const beyond = { leader: [], follower: [] }
for (let round = 1; round <= ROUNDS; round += 1) {
  const [alone, ours] = [await measure('none'), await measure(OURS)]
  for (const role of Object.keys(beyond)) beyond[role].push(ours[role] - alone[role])
  progress(`round ${round} of ${ROUNDS}`)
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`
const rows = Object.entries(beyond).map(([role, bytes]) => [role, megabytes(median(bytes)), bytes.map(megabytes).join(', ')])
console.log(markdown([['process', 'beyond posthog-node alone', 'each round'], ...rows], 1))
process.exitCode = Math.max(...Object.values(beyond).map(median)) > LIMIT_BYTES ? 1 : 0
