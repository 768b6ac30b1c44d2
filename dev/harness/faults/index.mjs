// Every fault that the fleet is put through, as data.
//
// A fault: `{ id, name, begin(lab, lastsMs), end(lab)?, lastsMs?, tells, mayTell?, alone?, grants?, forgets?, reconnects?, elects?, everywhere?,
// topology?, flags?, options?, asUser? }`.
// `lab` is of dev/harness/chaos-lab.mjs; `tells`: the codes of which posthog-node reports some, none where it is empty;
// `alone`: the processes fetch for themselves meanwhile; `grants`: turns to fetch are given all the same;
// `forgets`: who fetches, so that others fetch the same;
// `reconnects`: they are back only with their next attempt to connect; `elects`: it lasts until the servers have elected a master;
// `everywhere`: a fleet without the cache suffers it too; the rest is what the lab needs.

import { DATA_FAULTS } from './data.mjs'
import { NETWORK_FAULTS } from './network.mjs'
import { PROCESS_FAULTS } from './processes.mjs'
import { SERVER_FAULTS } from './server.mjs'
import { CLUSTER_FAULTS, SENTINEL_FAULTS } from './topologies.mjs'

/** How long a fault lasts that does not say: longer than two polls and the limits of their calls. */
export const LASTS_MS = 2_500

export const FAULTS = {
  'the network to Redis': NETWORK_FAULTS,
  'the server': SERVER_FAULTS,
  'the data': DATA_FAULTS,
  'the processes': PROCESS_FAULTS,
  'a primary with Sentinel': SENTINEL_FAULTS,
  'a primary in a cluster': CLUSTER_FAULTS,
}
