// What happens where several servers work together: masters that are replaced, and a slot that moves.

import { startCluster, startWatched } from '../deployments.mjs'
import { LOST, NOBODY } from './codes.mjs'

const HOST = '127.0.0.1'

export const SENTINEL_FAULTS = [
  {
    id: 'sentinel-failover',
    name: 'SENTINEL FAILOVER promotes the replica',
    topology: startWatched,
    begin: (lab) => lab.failOver(),
    async end(lab) {
      await lab.untilNamed()
      await lab.untilDemoted()
    },
    lastsMs: 0,
    tells: NOBODY,
  },
  {
    id: 'sentinel-master-killed',
    name: 'it is killed, the replica takes over, and it comes back',
    topology: startWatched,
    begin: (lab) => lab.killMaster(),
    async end(lab) {
      await lab.untilNamed()
      await lab.reviveReplica()
    },
    lastsMs: 0,
    tells: LOST,
    alone: true,
    // By the first that know of the new master, before all do.
    grants: true,
    reconnects: true,
    elects: true,
  },
]

const setSlot = (node, slot, ...to) => node.admin.cluster('SETSLOT', slot, ...to)

/** As `redis-cli --cluster reshard` does: first both nodes are told. */
async function announceMove({ nodes: [from, to], slot }) {
  await setSlot(to, slot, 'IMPORTING', from.id)
  await setSlot(from, slot, 'MIGRATING', to.id)
}

const move = ({ nodes: [from, to] }, ...keys) => from.admin.migrate(HOST, to.port, '', 0, 5_000, 'KEYS', ...keys)

async function concludeMove(lab) {
  const {
    nodes: [from, to, ...others],
    slot,
  } = lab
  for (const node of [to, from, others[0]]) await setSlot(node, slot, 'NODE', to.id)
  await lab.untilOwnedBy(to)
}

export const CLUSTER_FAULTS = [
  {
    id: 'slot-moved',
    name: 'the slot moves to another node',
    topology: startCluster,
    async begin(lab) {
      await announceMove(lab)
      await lab.api.nextCall()
      await move(lab, lab.keys.data, lab.keys.state)
    },
    end: concludeMove,
    tells: NOBODY,
  },
  {
    id: 'slot-halfway',
    name: 'the slot moves, and for a while only half of the keys have moved (TRYAGAIN)',
    topology: startCluster,
    async begin(lab) {
      await announceMove(lab)
      await move(lab, lab.keys.data)
    },
    async end(lab) {
      await move(lab, lab.keys.state)
      await concludeMove(lab)
    },
    tells: NOBODY,
  },
  {
    id: 'cluster-failover',
    name: 'CLUSTER FAILOVER promotes the replica',
    topology: startCluster,
    begin: ({ nodes }) => nodes[3].admin.cluster('FAILOVER'),
    end: (lab) => lab.untilOwnedBy(lab.nodes[3]),
    lastsMs: 0,
    tells: NOBODY,
  },
  {
    id: 'cluster-master-killed',
    name: 'it is killed, and the replica takes over',
    topology: startCluster,
    begin: (lab) => lab.killOwner(),
    end: (lab) => lab.untilOwnedBy(lab.nodes[3]),
    lastsMs: 0,
    tells: LOST,
    alone: true,
    // By the first that know of the new master, before all do.
    grants: true,
    reconnects: true,
    elects: true,
  },
]
