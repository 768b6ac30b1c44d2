// What operating systems and orchestrators do to the fleet's processes.

import { NOBODY } from './codes.mjs'

const stopped = (id, name, choose) => ({
  id,
  name,
  begin(lab) {
    lab.victim = choose(lab.fleet)
    lab.fleet.stop(lab.victim)
  },
  end: ({ fleet, victim }) => fleet.continue(victim),
  everywhere: true,
  tells: NOBODY,
  // Its own limits ran out while it was stopped.
  mayTell: ['ERR_FLAG_CACHE_TIMEOUT'],
})

// The process that called PostHog last may have been killed since.
const leader = ({ workers, leader }) => leader ?? workers[0]
const follower = (fleet) => fleet.workers.find((worker) => worker !== leader(fleet))

export const PROCESS_FAULTS = [
  stopped('leader-stopped', 'the leader is stopped (SIGSTOP) and continues', leader),
  stopped('follower-stopped', 'a follower is stopped (SIGSTOP) and continues', follower),
  {
    id: 'leader-killed',
    name: 'the leader is killed',
    begin: ({ fleet }) => fleet.kill(leader(fleet)),
    everywhere: true,
    tells: NOBODY,
  },
]
