// The rounds of one size: every provider in processes of its own, all doing the same thing in turn.

import { startCountingProxy } from './counting-proxy.mjs'
import { startDefinitionsServer } from './definitions-server.mjs'
import { GC_AS_USUAL, GC_HELD_OFF } from './instruments.mjs'
import { startMeasured } from './measured-process.mjs'
import { KINDS, OURS } from './subjects.mjs'

/** What is measured with which floor to compare; `title` as the tables have it. */
export const ROWS = [
  { id: 'unchanged', title: 'poll, nothing changed', floor: 'parse', traffic: 'received' },
  { id: 'changed', title: 'poll, one flag edited', floor: 'parse', traffic: 'received' },
  { id: 'first', title: 'first read of a process', floor: 'firstParse', traffic: 'received' },
  { id: 'publish', title: 'publish', floor: 'stringify', traffic: 'sent' },
  { id: 'fetch', title: 'fetch and publish', floor: 'json', traffic: 'sent', kinds: [OURS] },
]
export const FLOORS = [
  { id: 'access', title: '`fs.promises.access`' },
  { id: 'parse', title: '`JSON.parse`' },
  { id: 'firstParse', title: '`JSON.parse`, first of a process' },
  { id: 'stringify', title: '`JSON.stringify`' },
  { id: 'json', title: '`fetch` and `response.json()`' },
  { id: 'load', title: "posthog-node's own load" },
]
const POLLS = ['publish', 'changed', 'unchanged']
const STEPS = [...POLLS, 'first', 'fetch']
/** By instrument; more often what is small, or what V8's compiler and collector make vary. */
const STEPS_WITH = {
  allocation: [...STEPS, 'unchanged', 'unchanged'],
  cost: [...POLLS, ...POLLS, ...STEPS],
  longestBlock: [...STEPS, 'first', 'first'],
}

/** What is always the same needs no more rounds. */
const ALLOCATION_ROUNDS = 3

/** `results[id][kind][measure]`, a list of numbers; the floors are the kind `floor`. */
export async function measureSize({ bytes, rounds, seed, redis, progress }) {
  const results = {}
  const record = (id, kind, values) => {
    results[id] ??= {}
    results[id][kind] ??= {}
    const lists = results[id][kind]
    for (const [name, value] of Object.entries(values)) {
      lists[name] ??= []
      lists[name].push(value)
    }
  }
  const settings = { definitions: { bytes, seed }, redis, record, progress }
  const few = Math.min(rounds, ALLOCATION_ROUNDS)
  await measureRounds({ ...settings, rounds: few, instruments: ['allocation'], execArgv: GC_HELD_OFF })
  await redis.client().flushall()
  await measureRounds({ ...settings, rounds, instruments: ['cost', 'longestBlock'], execArgv: GC_AS_USUAL })
  return results
}

async function measureRounds({ definitions, redis, record, progress, rounds, instruments, execArgv }) {
  const api = await startDefinitionsServer(definitions)
  const subjects = await Promise.all(KINDS.map((kind) => openSubject({ kind, definitions, redis, api, execArgv })))
  const floors = await openFloors({ definitions, api, execArgv })

  // The first round warms up: nobody's first call is of interest, except the first read of a process.
  for (let round = 0; round <= rounds; round += 1) {
    const keep = round === 0 ? () => {} : record
    for (const instrument of instruments) {
      for (const { id } of FLOORS) keep(id, 'floor', await floors.measure(id, instrument))
      for (const step of STEPS_WITH[instrument]) {
        // Another one begins each time.
        for (const subject of rotate(subjects, round)) {
          if (takesPart(step, subject.kind)) keep(step, subject.kind, await subject[step](instrument))
        }
      }
    }
    progress(`${instruments.join(' and ')}: round ${round} of ${rounds}`)
  }
  for (const subject of subjects) await subject.verifyAndClose()
  await floors.close()
  await api.close()
}

const rotate = (list, by) => list.map((_, index) => list[(index + by) % list.length])

function takesPart(id, kind) {
  const { kinds } = ROWS.find((row) => row.id === id)
  return kinds === undefined || kinds.includes(kind)
}

/** What `use` gives of a process that does nothing else. */
async function once(start, use) {
  const fresh = await start()
  const used = await use(fresh)
  await fresh.close()
  return used
}

async function openFloors({ definitions, api, execArgv }) {
  const start = () => startMeasured({ definitions, definitionsUrl: api.url('phc_floor') }, execArgv)
  const floors = await start()
  let edits = 0
  return {
    measure(id, instrument) {
      edits += 1
      if (id === 'json' || id === 'firstParse') api.offer(edits)
      if (id === 'firstParse') return once(start, (fresh) => fresh.measure(id, edits, instrument))
      return floors.measure(id, edits, instrument)
    },
    close: () => floors.close(),
  }
}

/** One provider: a process that publishes and one that reads, and the number of edits so far. */
async function openSubject({ kind, definitions, redis, api, execArgv }) {
  const proxy = await startCountingProxy(redis.port)
  const projectKey = `phc_${kind}`
  const settings = { kind, definitions, url: proxy.url, projectKey, definitionsUrl: api.url(projectKey) }
  const start = () => startMeasured(settings, execArgv)
  const [publisher, reader] = await Promise.all([start(), start()])
  await Promise.all([publisher.ask('connect'), reader.ask('connect')])
  await publisher.ask('lead')
  let edits = 0

  const counted = async (work) => {
    proxy.take()
    return { ...(await work()), ...proxy.take() }
  }
  return {
    kind,
    publish: (instrument) => counted(() => publisher.measure('publish', ++edits, instrument)),
    changed: (instrument) => counted(() => reader.measure('changed', edits, instrument)),
    unchanged: (instrument) => counted(() => reader.measure('unchanged', edits, instrument)),
    first: (instrument) => once(start, (fresh) => counted(() => fresh.measure('first', edits, instrument))),
    async fetch(instrument) {
      api.offer(++edits)
      const measured = await counted(() => publisher.measure('fetch', edits, instrument))
      // Only to see that it has arrived.
      await reader.measure('changed', edits, instrument)
      return measured
    },
    async verifyAndClose() {
      await once(start, async (fresh) => {
        await fresh.measure('first', edits, 'cost')
        await fresh.ask('verify', edits)
      })
      await reader.ask('verify', edits)
      await reader.close()
      await publisher.close()
      await proxy.close()
    },
  }
}
