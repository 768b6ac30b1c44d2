// The peers' durations are written for posthog-node's default of one poll in 30 s. With shorter polls they
// shrink alike, so that the same pattern is measured in less time.

/** The polling interval for which the peers' durations were chosen. */
export const PRODUCTION_POLL_MS = 30_000

/** `seconds` of production, in milliseconds at this polling interval. */
export const scaled = (seconds, pollingIntervalMs) => Math.max(1, Math.round((seconds * 1000 * pollingIntervalMs) / PRODUCTION_POLL_MS))
