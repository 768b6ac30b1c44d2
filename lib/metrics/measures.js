'use strict'

/** The errors that a cache can report after it was created. Listed, so that each series begins at 0. */
const ERRORS = ['API', 'AUTH', 'CLOSED', 'CORRUPT', 'DATA', 'READONLY', 'TIMEOUT', 'TOO_LARGE', 'UNAVAILABLE']

const errorsOf = ({ counters }) => ({ ...Object.fromEntries(ERRORS.map((name) => [`ERR_FLAG_CACHE_${name}`, 0])), ...counters.errors })

const gauge = (name, unit, description, read) => ({ kind: 'gauge', name: `posthog.flag_cache.${name}`, unit, description, read })
/** With an `attribute`, `read` returns an object: a value for each of the attribute's values. */
const counter = (name, unit, description, read, attribute) => ({
  kind: 'counter',
  name: `posthog.flag_cache.${name}`,
  unit,
  description,
  read,
  attribute,
})

const seconds = (ms) => (ms === null || ms === undefined ? undefined : ms / 1_000)

/**
 * The metrics in OpenTelemetry's terms: name, unit, and how to read the value from `cache.status()`. A value that is not known is
 * `undefined`, and is not reported.
 */
const MEASURES = [
  gauge('leader', '', 'Whether this process is the leader, which fetches.', ({ isLeader }) => Number(isLeader)),
  gauge('definitions.loaded', '', 'Whether this process holds definitions.', ({ definitions }) => Number(definitions !== null)),
  gauge('definitions.flags', '{flag}', 'Flags in the definitions.', ({ definitions }) => definitions?.flags),
  gauge('definitions.size', 'By', 'Length of the definitions as JSON.', ({ definitions }) => definitions?.bytes),
  gauge('definitions.stored_size', 'By', 'Length of the definitions in the store.', ({ definitions }) => definitions?.storedBytes),
  gauge('definitions.age', 's', 'Time since PostHog last confirmed the definitions.', ({ definitions }) => seconds(definitions?.ageMs)),
  gauge('definitions.local_copy', '', "Whether the definitions come from this host's local copy.", ({ definitions }) =>
    Number(definitions?.isLocalCopy ?? false),
  ),
  gauge('last_grant.age', 's', 'Time since any process was last told to fetch.', ({ lastGrantMsAgo }) => seconds(lastGrantMsAgo)),
  gauge('pause', 's', 'How much longer no process calls PostHog; 0 without a pause.', ({ retryInMs }) => seconds(retryInMs ?? 0)),
  gauge('failed_fetches', '{fetch}', 'Failed fetches in a row, of this process.', ({ failedFetches }) => failedFetches),
  gauge('fleet.failed_fetches', '{fetch}', 'Failed fetches in a row, of all processes.', ({ fleetFailedFetches }) => fleetFailedFetches),
  gauge('store.round_trip', 's', 'How long the store took for its last answer.', ({ roundTripMs }) => seconds(roundTripMs)),
  gauge(
    'suggested_refresh_interval',
    's',
    "The refreshIntervalMs that matches posthog-node's polls, if the configured one differs.",
    (status) => seconds(status.suggestedRefreshIntervalMs),
  ),
  counter(
    'refreshes',
    '{refresh}',
    'Polls of posthog-node: told to fetch, or to use the cache.',
    ({ counters: { grants, follows } }) => ({ fetch: grants, follow: follows }),
    'outcome',
  ),
  counter(
    'reads',
    '{read}',
    'Reads of the store: definitions changed, or unchanged.',
    ({ counters: { loads, unchanged } }) => ({ changed: loads, unchanged }),
    'outcome',
  ),
  counter(
    'fetches',
    '{fetch}',
    'Successful fetches: definitions published, confirmed as unchanged, or superseded.',
    ({ counters: { publishes, confirms, superseded } }) => ({ published: publishes, confirmed: confirms, superseded }),
    'outcome',
  ),
  counter('heals', '{heal}', 'How often this process restored what the store had lost.', ({ counters }) => counters.heals),
  counter('waits', '{read}', "Reads of the store while waiting for another process's fetch.", ({ counters }) => counters.waits),
  counter('errors', '{error}', 'Errors by code.', errorsOf, 'error.type'),
  counter(
    'requests.billed',
    '{request}',
    'Flag requests that PostHog bills for the requests of this process: 10 for new definitions, 1 for unchanged ones.',
    ({ counters }) => counters.requestsBilled,
  ),
  counter(
    'requests.saved',
    '{request}',
    'Additional flag requests that PostHog would have billed without the cache.',
    ({ counters }) => counters.requestsSaved,
  ),
  counter(
    'relay.responses',
    '{response}',
    'Responses of a relay to requests for definitions, by HTTP status.',
    ({ relay }) => relay?.responses,
    'http.response.status_code',
  ),
  counter('relay.proxied_requests', '{request}', 'Other requests to a relay, by outcome.', ({ relay }) => relay?.proxied, 'outcome'),
]

/** `[value, attributes]` of each series of a metric. */
function samplesOf({ read, attribute }, status) {
  const found = read(status)
  if (found === undefined) return []
  return attribute ? Object.entries(found).map(([name, value]) => [value, { [attribute]: name }]) : [[found, {}]]
}

module.exports = { MEASURES, samplesOf }
