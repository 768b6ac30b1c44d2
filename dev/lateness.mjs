// Whether a process got its share of the machine: its timers tell.

import { now } from './clock.mjs'

const TICK_MS = 100
const LATE_MS = 100

/** Calls `onLate({ at, ms })` whenever this process was held up; keeps nothing alive. */
export function watchLateness(onLate) {
  let expected = now() + TICK_MS
  const timer = setInterval(() => {
    const at = now()
    if (at - expected > LATE_MS) onLate({ at, ms: at - expected })
    expected = at + TICK_MS
  }, TICK_MS)
  timer.unref()
  return () => clearInterval(timer)
}

/** How long `episodes` held a process up between `from` and `to`, in milliseconds. */
export function lostBetween(episodes, from, to) {
  return episodes.reduce((sum, { at, ms }) => sum + Math.max(0, Math.min(at, to) - Math.max(at - ms, from)), 0)
}
