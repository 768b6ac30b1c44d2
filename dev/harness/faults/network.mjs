// What networks and load balancers do to the fleet's connections.

import { NETWORK } from '../fault-proxy.mjs'
import { LOST, NOBODY } from './codes.mjs'

/** A fetch and its publish take longer than the lease of so short an interval. */
const LONG_LEASE = { leaseTtlMs: 10_000 }

/** It fails only what is large. */
const LARGE = {
  flags: 2_000,
  options: { compression: 'none', ...LONG_LEASE },
  tells: LOST,
  alone: true,
  grants: true,
  reconnects: true,
}

const fault = (id, name, network, rest) => ({
  id,
  name,
  begin: ({ proxy }) => proxy.break(network),
  end: ({ proxy }) => proxy.heal(),
  ...rest,
})

export const NETWORK_FAULTS = [
  fault('refused', 'no server listens on its port', NETWORK.refused, { tells: LOST, alone: true, reconnects: true }),
  fault('reset', 'each connection is reset', NETWORK.reset, { tells: LOST, alone: true, reconnects: true }),
  fault('black-hole', 'connections are accepted and never answered', NETWORK.blackHole, { tells: LOST, alone: true, reconnects: true }),
  fault('half-open', 'existing connections go silent', NETWORK.halfOpen, {
    tells: LOST,
    alone: true,
    grants: true,
    reconnects: true,
  }),
  fault('idle-kill', 'a load balancer closes the connections', NETWORK.killed, { lastsMs: 0, tells: NOBODY }),
  fault('idle-reset', 'a firewall resets the connections', { open: 'reset' }, { lastsMs: 0, tells: NOBODY }),
  fault('trickle', 'data arrives byte by byte', NETWORK.trickle, { flags: 1, options: LONG_LEASE, tells: NOBODY }),
  fault('latency', 'each message takes 30 ms', NETWORK.slow(30), { options: LONG_LEASE, tells: NOBODY }),
  fault('slow', 'each message takes longer than commandTimeoutMs', NETWORK.slow(900), { tells: LOST, alone: true, reconnects: true }),
  fault('narrow', 'large definitions are loaded over a slow link', NETWORK.narrow(100_000), LARGE),
  fault('cut-reply', 'connections break in the middle of a large reply', NETWORK.cut('down', 200_000), LARGE),
  fault('cut-write', 'connections break in the middle of a large write', NETWORK.cut('up', 200_000), LARGE),
]
