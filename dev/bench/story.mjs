// One story, told by every kind of fleet at the same time: what each was billed, and when.

import { now, sleep } from '../harness/clock.mjs'

const PROCESSES = 8
const DEPLOY = { from: 24, until: 40 }

/** What happens, in polls after the start. `until`: where it takes a while. */
export const EVENTS = [
  { at: 0, label: '8 processes start' },
  { at: 13, label: 'edit' },
  { at: 18, label: 'edit' },
  { at: DEPLOY.from, until: DEPLOY.until, label: 'rolling deploy' },
  { at: 45, label: 'leader killed' },
  { at: 53, label: 'rollback' },
]
const [, FIRST_EDIT, SECOND_EDIT, , CRASH, ROLLBACK] = EVENTS
const RESTART_AFTER = 2

/** In polls. */
export const STORY_LENGTH = 60

/**
 * Resolves with `{ kind, calls, bill, strays, errors }`. A call: `{ at, billed }`, `at` in polls after the start.
 * `strays`: how many processes evaluate something else than PostHog has at the end.
 */
export async function tellStory(lab) {
  const { api, fleet } = await lab.open()
  let begunAt
  fleet.once('begin', () => (begunAt = now()))
  await fleet.start(PROCESSES, { together: true })
  const until = (polls) => sleep(Math.max(0, begunAt + polls * lab.pollMs - now()))

  await until(FIRST_EDIT.at)
  api.edit()
  await until(SECOND_EDIT.at)
  api.edit()

  let replaced = 0
  const step = (DEPLOY.until - DEPLOY.from) / PROCESSES
  await fleet.deploy({ pace: () => until(DEPLOY.from + replaced++ * step) })

  await until(CRASH.at)
  await (fleet.leader ?? fleet.workers[0]).kill()
  await until(CRASH.at + RESTART_AFTER)
  await fleet.start(1)

  await until(ROLLBACK.at)
  api.rollback(2)
  await until(STORY_LENGTH)
  const calls = api.calls.map(({ at, billed }) => ({ at: (at - begunAt) / lab.pollMs, billed }))
  const strays = fleet.workers.filter(({ version }) => version !== api.version).length
  return { kind: lab.kind, calls, bill: api.bill, strays, errors: fleet.errors.length }
}
