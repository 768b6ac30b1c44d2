// The situations of the README's table, each run by real posthog-node processes over Redis.
//
// A row: `{ id, title, floor, unit?, alone?, run(lab) }`. `run` resolves with a number (counts and bills) or a few
// words. `alone`: it needs the whole machine; else the kinds run side by side. A lab: see dev/bench/lab.mjs.

import { now, sleep } from '../harness/clock.mjs'
import { definitions } from '../harness/definitions.mjs'
import { callsAtMost } from './floor.mjs'
import { dataKey } from '../harness/providers.mjs'

const POLLS_OBSERVED = 12

export const ROWS = [
  {
    id: 'cold-start',
    title: '16 processes start at once, and the API answers in 300 ms: full fetches',
    floor: '1',
    alone: true,
    async run(lab) {
      const { api, fleet } = await lab.open({ delayMs: 300 })
      await fleet.start(16)
      return api.count(200)
    },
  },
  {
    id: 'joiners',
    title: '4 processes join after 10 polls without an edit: their full fetches',
    floor: '0',
    async run(lab) {
      const { api, fleet } = await lab.open()
      await fleet.start(8)
      await sleep(10.5 * lab.pollMs)
      const before = api.calls.length
      const fresh = (await fleet.start(4)).map(({ id }) => id)
      return api.calls.slice(before).filter(({ status, worker }) => status === 200 && fresh.includes(worker)).length
    },
  },
  {
    id: 'edits',
    title: '5 edits in 20 polls, 8 running processes: billed requests',
    floor: '10 per edit, 1 per other poll',
    async run(lab) {
      const { api, fleet } = await lab.open()
      // One before the others: what a start costs is measured elsewhere.
      await fleet.start(1)
      await fleet.start(7)
      const before = api.calls.length
      for (let edit = 0; edit < 5; edit += 1) {
        api.edit()
        await sleep(4 * lab.pollMs)
      }
      return api.billSince(before)
    },
  },
  {
    id: 'rolling-deploy',
    title: 'Rolling deploy of 8 processes in 16 polls: billed requests beyond one per poll',
    floor: '0',
    async run(lab) {
      const { api, fleet } = await lab.open()
      await fleet.start(8)
      await sleep(2 * lab.pollMs)
      const [before, startedAt] = [api.calls.length, now()]
      let replaced = 0
      await fleet.deploy({ pace: () => sleep(Math.max(0, startedAt + 2 * replaced++ * lab.pollMs - now())) })
      await sleep(2 * lab.pollMs)
      const calls = api.calls.length - before
      const extraCalls = Math.max(0, calls - callsAtMost(now() - startedAt, lab.pollMs))
      return extraCalls + api.billSince(before) - calls
    },
  },
  {
    id: 'short-lived',
    title: '20 short-lived processes, one after another: full fetches',
    floor: '1',
    async run(lab) {
      // Not shortened: what matters is that each lives for much less than an interval.
      const { api, fleet } = await lab.open({ pollMs: 30_000 })
      for (let n = 0; n < 20; n += 1) {
        await fleet.start(1)
        await fleet.shutdown()
      }
      return api.count(200)
    },
  },
  {
    id: 'flushall',
    title: 'Redis loses its data (FLUSHALL): time until it has definitions again',
    floor: '1 poll',
    async run(lab) {
      // Started together, every process has fetched once where the provider lets it: as in a fleet that has run
      // for long, none is without an ETag of its own.
      const { api, fleet } = await lab.open({ delayMs: 100 })
      await fleet.start(4, { together: true })
      await sleep(3.5 * lab.pollMs)
      const redis = lab.redis.client()
      await redis.flushall()
      const before = api.calls.length
      const polls = await pollsUntil(lab, () => redis.exists(dataKey(lab.kind, api.projectKey)))
      const fetched = api.count(200, before)
      if (polls === undefined) return 'empty until the next edit'
      return `${polls} poll${polls === 1 ? '' : 's'}${fetched > 0 ? `, ${fetched} full fetch${fetched === 1 ? '' : 'es'}` : ''}`
    },
  },
  {
    id: 'rollback',
    title: 'Definitions change v1 → v2 → v1 while the leader changes: what the processes evaluate in the end',
    floor: 'v1 within 2 polls',
    async run(lab) {
      const { api, fleet } = await lab.open()
      const [first] = await fleet.start(1)
      await fleet.start(2)
      await fleet.everyone({ version: 'v1' })
      const others = fleet.workers.filter((worker) => worker !== first)
      // The leadership moves away from the first: it is held until another has published the edit.
      fleet.stop(first)
      api.edit()
      await fleet.someone({ version: 'v2' })
      // And back to the first at once, whose own ETag is still that of v1.
      api.rollback(1)
      for (const worker of others) fleet.stop(worker)
      fleet.continue(first)
      await api.nextCall((call) => call.worker === first.id)
      for (const worker of others) fleet.continue(worker)
      const polls = await pollsUntil(lab, () => fleet.workers.every(({ version }) => version === 'v1'))
      return polls === undefined ? 'stuck on v2' : `v1 within ${Math.max(2, polls)} polls`
    },
  },
  {
    id: 'release',
    title: 'A process shuts down after its lock has expired: what happens to the lock of the next process',
    floor: 'kept',
    async run(lab) {
      const [filler, late, holder, third] = await Promise.all(Array.from({ length: 4 }, () => lab.provider()))
      await granted(filler)
      await filler.onFlagDefinitionsReceived(received('v1'))
      await filler.shutdown()
      await granted(late)
      await granted(holder)
      await late.onFlagDefinitionsReceived(received('v1'))
      await late.shutdown()
      return (await third.shouldFetchFlagDefinitions()) ? 'deleted' : 'kept'
    },
  },
]

/** After how many polls `condition` holds; undefined when it does not in all that are observed. */
async function pollsUntil({ pollMs }, condition) {
  const startedAt = now()
  while (now() - startedAt < POLLS_OBSERVED * pollMs) {
    if (await condition()) return Math.max(1, Math.ceil((now() - startedAt) / pollMs))
    await sleep(pollMs / 20)
  }
}

async function granted(provider) {
  while (!(await provider.shouldFetchFlagDefinitions())) await sleep(20)
}

/** Definitions as posthog-node hands them to a provider. */
function received(version) {
  const { group_type_mapping: groupTypeMapping, minimal_flag_called_events: minimalFlagCalledEvents, ...rest } = definitions({ version })
  return {
    ...rest,
    group_type_mapping: groupTypeMapping,
    groupTypeMapping,
    minimal_flag_called_events: minimalFlagCalledEvents,
    minimalFlagCalledEvents,
  }
}
