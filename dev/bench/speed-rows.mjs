// How soon an edit is everywhere. Rows as in dev/bench/rows.mjs, in milliseconds (`unit: 'ms'`).
//
// Polls are what the peers wait for: measured with short ones, told for posthog-node's default interval.

import { sleep } from '../harness/clock.mjs'
import { PRODUCTION_POLL_MS } from '../peers/scale.mjs'
import { OURS } from '../harness/providers.mjs'

const EDITS = 5
const PROCESSES = 8
const API_MS = 300
/** The package takes calls of `invalidate()` within a second as one. */
const BETWEEN_INVALIDATIONS_MS = 1_100

export const SPEED_ROWS = [
  {
    id: 'spread',
    title: `An edit reaches ${PROCESSES} processes: time from the first to the last`,
    floor: 'no wait for a poll',
    unit: 'ms',
    alone: true,
    async run(lab) {
      const { api, fleet } = await lab.open()
      await fleet.start(PROCESSES)
      const spread = await medianOfEdits(async () => (await fleet.everyone({ version: api.edit() })).spreadMs)
      return lab.kind === OURS ? spread : atDefaultInterval(spread, lab)
    },
  },
  {
    id: 'webhook',
    title: `A webhook reports an edit: time until all ${PROCESSES} processes evaluate it`,
    floor: `one API call (${API_MS} ms)`,
    unit: 'ms',
    alone: true,
    async run(lab) {
      if (lab.kind === OURS) return toldByWebhook(lab)
      // They cannot be told. The API answers them at once: their wait is for polls alone.
      const { api, fleet } = await lab.open()
      await fleet.start(PROCESSES)
      return atDefaultInterval(await medianOfEdits(async () => (await fleet.everyone({ version: api.edit() })).tookMs), lab)
    },
  },
]

async function toldByWebhook(lab) {
  const { api, fleet } = await lab.open({ pollMs: PRODUCTION_POLL_MS, delayMs: API_MS })
  await fleet.start(PROCESSES)
  return medianOfEdits(async (n) => {
    await sleep(BETWEEN_INVALIDATIONS_MS)
    const told = fleet.workers[n % PROCESSES]
    const everywhere = fleet.everyone({ version: api.edit() })
    await told.call('invalidate')
    await told.reload()
    return (await everywhere).tookMs
  })
}

async function medianOfEdits(measure) {
  const measured = []
  for (let n = 0; n < EDITS; n += 1) measured.push(await measure(n))
  return measured.sort((a, b) => a - b)[(EDITS - 1) / 2]
}

const atDefaultInterval = (ms, { pollMs }) => (ms * PRODUCTION_POLL_MS) / pollMs
