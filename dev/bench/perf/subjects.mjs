// What is measured: our provider, the ordinary one on each client, and the floors below which nobody can go.

import { loadOurs, OURS } from '../../harness/providers.mjs'
import { CLIENTS, OrdinaryProvider } from './clients.mjs'

export { OURS }
export const PEERS = Object.keys(CLIENTS)
export const KINDS = [OURS, ...PEERS]

/** So long that no lease and no lock ends during a run. */
const INTERVAL_MS = 24 * 3_600_000
const TIMEOUT_MS = 30_000

/** Loads what `kind` needs; then `open({ url, projectKey })` connects it: `{ provider, close() }`. */
export async function prepare(kind) {
  if (kind === OURS) {
    const { FlagDefinitionCache } = loadOurs()
    return async ({ url, projectKey }) => {
      const provider = new FlagDefinitionCache({ url, projectKey, refreshIntervalMs: INTERVAL_MS, commandTimeoutMs: TIMEOUT_MS })
      return { provider, close: () => provider.shutdown() }
    }
  }
  const open = await CLIENTS[kind].load()
  return async ({ url, projectKey }) => {
    const client = await open(url)
    return { provider: new OrdinaryProvider(client, projectKey, INTERVAL_MS), close: () => client.close() }
  }
}

/** What posthog-node makes of the API's answer, hands to its provider, and expects back. */
export function asReceived({ flags, cohorts, group_type_mapping, minimal_flag_called_events, property_matching_version }) {
  return {
    flags,
    group_type_mapping,
    cohorts,
    minimal_flag_called_events,
    property_matching_version,
    propertyMatchingVersion: property_matching_version,
    groupTypeMapping: group_type_mapping,
    minimalFlagCalledEvents: minimal_flag_called_events,
  }
}
