// Has both fleets of a pair live through a situation at the same time, and measures them.

import { nextEvent, now, sleep } from '../../dev/harness/clock.mjs'
import { SLOW_MS } from '../../dev/harness/yardstick/situations.mjs'

/** What takes longer is said to come never. The fleet with the cache has as long again after the other one. */
const PATIENCE_POLLS = 4

/**
 * `[cached, plain]`, each `{ firstMs, editMs, billed, lost }`: the longest that a healthy process took, what the fleet was billed
 * for the start, or while the fault lasted, and how many healthy processes lost their flags.
 */
export async function live(sides, situation) {
  await situation.prepare?.(sides[0])
  await all(sides, (side) => situation.before?.(side))
  const { first, edits, billed } = await (situation.story === 'fault' ? suffer : start)(sides, situation)
  return sides.map(({ fleet }, n) => ({
    firstMs: first[n],
    editMs: Math.max(...edits.map((edit) => edit[n])),
    billed: billed[n],
    lost: fleet.all.filter(({ sick, history }) => !sick && history.some(({ version }) => version === null)).length,
  }))
}

/** Begins to count; the function that it returns gives what each side was billed since. */
function bill(sides) {
  const since = sides.map(({ api }) => api.calls.length)
  return () => sides.map(({ api }, n) => api.billSince(since[n]))
}

const healthy = ({ fleet }) => fleet.workers.filter(({ sick, stopped }) => !sick && !stopped)

const all = (sides, work) => Promise.all(sides.map(work))

async function start(sides, situation) {
  const billed = bill(sides)
  await all(sides, (side) => STARTS[situation.story](side, situation))
  let recoveredAt
  if (situation.recover) {
    await sleep(situation.lastsMs)
    await all(sides, situation.recover)
    recoveredAt = now()
  }
  const first = await firstFlags(sides, sides.map(healthy), recoveredAt)
  return { first, edits: [await edit(sides), await edit(sides)], billed: billed() }
}

const STARTS = {
  together: ({ fleet }, { workers }) => fleet.start(workers, { together: true, untilReady: false }),
  async 'one by one'({ fleet }, { workers }) {
    for (let n = 0; n < workers; n += 1) await fleet.start(1)
  },
  /** The others begin when the first one's request is under way. */
  async 'sick first'({ fleet }, { workers, sick }) {
    const sicken = async () => {
      const [first] = await fleet.start(1, { sick, sickSettings: { afterMs: SLOW_MS }, untilReady: false })
      if (first.sickRequests.length === 0) await first.until('sick-request')
    }
    return fleet.start(workers - 1, { together: true, untilReady: false, whenLoaded: sicken })
  },
}

/** A fault hits a fleet that has flags; a process starts while it lasts. */
async function suffer(sides, { workers, fault, lastsMs }) {
  await all(sides, ({ fleet }) => fleet.start(workers, { together: true, untilReady: false }))
  await firstFlags(sides, sides.map(healthy))
  const struck = sides.filter((_side, n) => n === 0 || fault.everywhere)
  const billed = bill(sides)
  await all(struck, (side) => fault.begin(side))
  const early = publish(sides)
  const residents = sides.map(({ fleet }) => [...fleet.workers])
  const fresh = await all(sides, ({ fleet }) => fleet.start(1, { together: true, untilReady: false }))
  const first = firstFlags(sides, fresh)
  await sleep(lastsMs)
  // A process that is stopped is not healthy.
  const arrived = arrival(
    sides,
    sides.map((side, n) => healthy(side).filter((worker) => residents[n].includes(worker))),
    early,
  )
  await all(struck, (side) => fault.end?.(side))
  const edits = [await arrived]
  const billedMeanwhile = billed()
  return { first: await first, edits: [...edits, await edit(sides)], billed: billedMeanwhile }
}

/** How long each side's processes take to have flags, since they began, or since `from`. */
function firstFlags(sides, workers, from) {
  return plainFirst(sides, async ({ pollMs }, n) => {
    const timeoutMs = PATIENCE_POLLS * pollMs
    const ready = await Promise.all(
      workers[n].map(
        (worker) =>
          worker.ready ||
          worker.until('ready', { timeoutMs }).then(
            () => true,
            () => false,
          ),
      ),
    )
    if (ready.includes(false)) return Infinity
    return Math.max(0, ...workers[n].map(({ readyAt, readyAfterMs }) => (from === undefined ? readyAfterMs : readyAt - from)))
  })
}

function publish(sides) {
  const editedAt = now()
  return { editedAt, versions: sides.map(({ api }) => api.edit()) }
}

const edit = (sides) => arrival(sides, sides.map(healthy), publish(sides))

/** How long after it was made each side's processes evaluate the edit. */
function arrival(sides, workers, { editedAt, versions }) {
  return plainFirst(sides, async ({ fleet, pollMs }, n) => {
    const reachedBy = ({ history }) => history.find(({ version }) => version === versions[n])
    const reached = () => workers[n].every(reachedBy)
    if (!reached()) await nextEvent(fleet, 'change', reached, { timeoutMs: PATIENCE_POLLS * pollMs }).catch(() => {})
    return reached() ? Math.max(...workers[n].map((worker) => reachedBy(worker).at - editedAt)) : Infinity
  })
}

/** What it measures of the plain fleet tells how long to wait for the other one; both live on meanwhile. */
async function plainFirst([cached, plain], measure) {
  const without = await measure(plain, 1)
  return [await measure(cached, 0), without]
}
