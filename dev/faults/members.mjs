// Members of a fleet that cannot reach PostHog while another one can.
//
// A row: `{ name, kind, workers, failures }`. `kind` is of dev/sick-fetch.mjs; of `workers` processes all but one are sick, the one
// that fetches among them; a process that is alone is sick until it has failed `failures` times.

const KINDS = {
  network: 'its connections are refused',
  hang: 'its requests are never answered',
  500: 'it is answered 500',
  html: 'it is answered with HTML and status 200',
  401: 'it is answered 401',
}

/** After each 401, posthog-node doubles the time until its next poll. */
const failuresOf = (kind) => (kind === '401' ? 1 : 2)

/** A request that hangs takes a third of an interval: one process after another can try only a few times in three intervals. */
const sizesOf = (kind) => (kind === 'hang' ? [1, 2, 3] : [1, 2, 8])

export const MEMBER_FAULTS = Object.entries(KINDS).flatMap(([kind, what]) =>
  sizesOf(kind).map((workers) => ({
    name: workers === 1 ? `the only process: ${what}, for a while` : `${workers - 1} of ${workers} processes, the leader included: ${what}`,
    kind,
    workers,
    failures: failuresOf(kind),
  })),
)
