// Members of a fleet that cannot reach PostHog while another one can.
//
// A row: `{ name, kind, workers, failures, fetch }`. `kind` is of dev/harness/sick-fetch.mjs; of `workers` processes all but one are
// sick, the one that fetches among them; a process that is alone is sick until it has failed `failures` times. `fetch`: the client's
// requests go through `flagCache.fetch`.

const KINDS = {
  network: 'connections are refused',
  hang: 'requests are never answered',
  500: 'PostHog answers 500',
  html: 'PostHog answers HTML with status 200',
  401: 'PostHog answers 401',
}

/** After each 401, posthog-node doubles the time until its next poll. */
const failuresOf = (kind) => (kind === '401' ? 1 : 2)

/** A request that hangs takes a third of an interval: one process after another can try only a few times in three intervals. */
const sizesOf = (kind) => (kind === 'hang' ? [1, 2, 3] : [1, 2, 8])

const rowOf = (kind, workers, fetch) => {
  const who = workers === 1 ? 'the only process' : `${workers - 1} of ${workers} processes, including the leader`
  const name = `${who}: ${KINDS[kind]}${workers === 1 ? ', for a while' : ''}${fetch ? '' : ', without `fetch`'}`
  return { name, kind, workers, failures: failuresOf(kind), fetch }
}

export const MEMBER_FAULTS = Object.keys(KINDS).flatMap((kind) => [
  ...sizesOf(kind).map((workers) => rowOf(kind, workers, true)),
  rowOf(kind, 2, false),
])
