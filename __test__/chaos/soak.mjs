// `npm run soak`: fifty posthog-node clients in ten processes for minutes, with edits, kills and faults at random.
//
// What must hold, throughout:
// - There is at most one call of PostHog an interval. Only a fault that leaves the processes alone (dev/harness/faults/index.mjs) allows,
//   from its begin until the fleet shares again, one call of each client a poll; others one for each client that starts meanwhile.
// - Within two polls after the fleet shares again everyone evaluates the newest version.
// - No call exceeds its limit, no evaluation is lost, no process ends that was not killed.
// - Memory, handles and connections stay what they were after the warm-up.

import { parseArgs } from 'node:util'

import { openChaosLab, SHORT } from '../../dev/harness/chaos-lab.mjs'
import { now, sleep } from '../../dev/harness/clock.mjs'
import { FAULTS } from '../../dev/harness/faults/index.mjs'
import { randomFrom } from '../../dev/harness/random.mjs'
import * as judge from './judge.mjs'
import { Residents } from './residents.mjs'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    processes: { type: 'string', default: '10' },
    clients: { type: 'string', default: '5' },
  },
})
const [minutes, seed, processes, clients] = ['minutes', 'seed', 'processes', 'clients'].map((name) => Number(values[name]))
const POLL_MS = 1_000

const { between, pick, chance } = randomFrom(seed)
// One server: other topologies have a lab of their own.
const faults = Object.values(FAULTS)
  .flat()
  .filter(({ id, topology }) => id !== 'leader-killed' && !topology)
const startedAt = now()
const endsAt = startedAt + minutes * 60_000
const tally = { rounds: 0, edits: 0, kills: 0, deploys: 0 }

function say(...words) {
  console.log(`${((now() - startedAt) / 1_000).toFixed(0).padStart(5)} s  ${words.join(' ')}`)
}

console.log(`seed ${seed}: ${processes} processes with ${clients} clients each, ${minutes} minutes`)
const lab = await openChaosLab({
  asUser: true,
  // So many that they are compressed, and that edits are patches.
  flags: 400,
  clients,
  options: SHORT,
  pollMs: POLL_MS,
  settings: { execArgv: ['--expose-gc'] },
})
try {
  await run()
  say(`held: ${JSON.stringify(tally)}`)
} catch (error) {
  console.error(error)
  console.error(
    `VIOLATED after ${Math.round((now() - startedAt) / 1_000)} s; to repeat: npm run soak -- --seed ${seed} --minutes ${minutes}`,
  )
  process.exitCode = 1
} finally {
  await lab.close()
}

async function run() {
  const { fleet } = lab
  await fleet.start(processes, { together: true, timeoutMs: 120_000 })
  await settle(now())
  const residents = new Residents(fleet.workers.slice(0, processes / 2))
  while (now() < endsAt) {
    await calm()
    await suffer(pick(faults), residents)
    tally.rounds += 1
    // The first third is the warm-up.
    if (now() > startedAt + minutes * 20_000) await residents.measure()
    forget()
  }
  await judge.assertWhole(lab)
  await judge.assertFewConnections(lab)
  say(residents.assertFlat())
  for (const { ended } of await shutDown()) if (ended.code !== 0) throw new Error(`it ended with ${JSON.stringify(ended)}`)
}

async function shutDown() {
  const { workers } = lab.fleet
  await lab.fleet.shutdown({ timeoutMs: 20_000 })
  return workers
}

/** Edits that reach everybody, and one call an interval. */
async function calm() {
  const edits = Math.floor(between(0, 3))
  const version = edits > 0 ? edit(edits) : lab.api.version
  await judge.assertPaced(lab, Math.floor(between(3, 6)))
  await lab.fleet.everyone({ version, timeoutMs: 2 * POLL_MS + judge.ALLOWANCE_MS })
}

function edit(times) {
  tally.edits += times
  for (; times > 1; times -= 1) lab.api.edit()
  return lab.api.edit()
}

async function suffer(fault, residents) {
  const { api } = lab
  const [begunAt, calls, lastsMs] = [now(), api.calls.length, fault.lastsMs ?? between(500, 4_000)]
  // The fault keeps what it needs until its end.
  const scene = Object.create(lab)
  await fault.begin(scene)
  if (chance(0.7)) edit(1 + Math.floor(between(0, 2)))
  const strangers = chance(0.4) ? clients : 0
  const replaced = strangers > 0 && replace(residents)
  await sleep(lastsMs)
  await fault.end?.(scene)
  const endedAt = now()
  await replaced
  const sharedAt = await settle(endedAt)

  const made = api.calls.length - calls
  say(
    fault.id.padEnd(22),
    `${Math.round(endedAt - begunAt)} ms, shared again after ${Math.max(0, Math.round(sharedAt - endedAt))} ms, ${made} calls`,
  )
  judge.assertCalled(lab, fault, { calls: made, elapsedMs: now() - begunAt, strangers })
  judge.assertRecovered(lab, fault, { tookMs: sharedAt - endedAt, lastedMs: endedAt - begunAt })
}

/** Everyone shares, has the newest version, and nothing is lost. */
async function settle(since) {
  const sharedAt = await judge.sharesAgain(lab, since)
  await lab.fleet.everyone({ version: lab.api.version, timeoutMs: 2 * POLL_MS + judge.ALLOWANCE_MS })
  judge.assertBounded(lab)
  judge.assertUnharmed(lab)
  judge.assertFlagsKept(lab)
  return sharedAt
}

/** Kills a process that is none of the residents, or has it leave; another one takes its place. */
async function replace(residents) {
  const { fleet } = lab
  const victim = pick(fleet.workers.filter((worker) => !worker.stopped && !residents.includes(worker)))
  if (!victim) return
  if (chance(0.5)) {
    tally.kills += 1
    await fleet.kill(victim)
  } else {
    tally.deploys += 1
    await victim.shutdown({ timeoutMs: 20_000 })
  }
  await fleet.start(1, { slot: victim.slot, timeoutMs: 60_000 })
}

/** What was looked at already. */
function forget() {
  for (const worker of lab.fleet.all) {
    for (const list of [worker.calls, worker.errors, worker.stops]) list.splice(0)
    worker.history.splice(0, worker.history.length - 1)
  }
}
