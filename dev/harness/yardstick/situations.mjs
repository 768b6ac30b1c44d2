// Every situation that a fleet lives through twice, with the cache and without, as data.
//
// A situation: `{ name, lab, workers, story, prepare(cached)?, before(side)?, recover(side)?, lastsMs?, sick?, fault?, waits?,
// laterMs? }`.
// `lab` is for `openPair()`; `story` names how the fleet starts: 'together', 'one by one', 'sick first' (`sick`: the kind), or
// 'fault' (`fault` of dev/harness/faults: it hits a running fleet, and a new process starts meanwhile).
// `prepare` sees the cached side alone, `before` and `recover` (after `lastsMs`) see both.
// `laterMs(limits)`: how much later than three intervals an edit may come, where a call gets no answer or keys go all the time.
// `waits(limits, pollMs)`: how much longer than without the cache the first flags may take, where a timeout of the cache or a
// pause of the fleet must pass first.

import { NETWORK } from '../fault-proxy.mjs'
import { FAULTS } from '../faults/index.mjs'

const POLL_MS = 1_200

/** A fault lasts longer than an edit may take. */
const FAULT_POLL_MS = 1_000
const FAULT_LASTS_MS = 4 * FAULT_POLL_MS

/** Where Redis does not answer: short beside the interval, as the defaults are, so that one call delays an edit by less than that. */
const SHORT_TIMEOUTS = { connectTimeoutMs: 400, commandTimeoutMs: 300 }

/** Longer than any allowance: a process that waits for `coldStartWaitMs` is late. */
const LONG_WAIT = { pollMs: POLL_MS, options: { coldStartWaitMs: 3 * POLL_MS } }

/** Where it must pass first it is in the proportion of the defaults, 5 s to 30 s. */
const SHORT_WAIT = { pollMs: POLL_MS, options: { coldStartWaitMs: POLL_MS / 6 } }

/** Where posthog-node's own timeout must pass, that is too, 10 s to 30 s. */
const HANGING = { ...SHORT_WAIT, requestTimeoutMs: POLL_MS / 3 }

/** 8 s in the same proportion. */
export const SLOW_MS = (POLL_MS * 8) / 30

const SICK = {
  network: 'its connections are refused',
  dns: "PostHog's host name cannot be resolved",
  hang: 'its requests are never answered',
  slow: 'its requests take 8 s (of a 30 s interval)',
  500: 'it receives 500',
  html: 'it receives HTML with status 200',
  'html-json': 'it receives JSON without flags',
  401: 'it receives 401',
  402: 'it receives 402',
  403: 'it receives 403',
  429: 'it receives 429',
  clock: 'its clock is wrong, so TLS fails',
}

/** To the cache these are the same as a refused connection. */
const ALIKE = ['dns', 'clock']
const DISTINCT = Object.keys(SICK).filter((sick) => !ALIKE.includes(sick))

/** A program that evaluates flags meanwhile makes posthog-node load again each time, unless it backs off. */
const EVALUATING = ['network', 'hang', '500', '401', '429']

/** The processes that wait for the first one learn of no failure: it takes longer than they wait. */
const SILENT = ['hang', 'slow']

/** Without `fetch` an answer without definitions is known when the process asks again: at its next poll, or evaluation. */
const isKnown = (sick, { fetch, evaluates }) => !SILENT.includes(sick) && (fetch || evaluates || sick !== 'html')

const coldStartWait = ({ coldStartWaitMs }) => coldStartWaitMs

const LATENCY_MS = 30

/** TCP through the proxy takes no time; logging in, the first script and the publish of a cold start take these. */
const ROUND_TRIPS = 5
const connecting = () => ROUND_TRIPS * 2 * LATENCY_MS

const oneCall = ({ connectTimeoutMs, commandTimeoutMs }) => connectTimeoutMs + 2 * commandTimeoutMs

/** A call of a process that has no definitions. */
const longestCall = (limits) => oneCall(limits) + coldStartWait(limits)

function sickFirst(sick, { fetch, evaluates = false }) {
  const known = isKnown(sick, { fetch, evaluates })
  return {
    name: `${SICK[sick]}${fetch ? '' : ', without `fetch`'}${evaluates ? ', while evaluating flags' : ''}`,
    lab: { ...(sick === 'hang' ? HANGING : known ? LONG_WAIT : SHORT_WAIT), fetch, evaluates },
    workers: 3,
    story: 'sick first',
    sick,
    ...(!known && { waits: coldStartWait }),
  }
}

/** The first process asks again before the others have waited long enough. */
function askedAgain() {
  const { name, lab, ...rest } = sickFirst('html', { fetch: false })
  return {
    ...rest,
    name: `${name}, and \`coldStartWaitMs\` exceeds the interval`,
    lab: { ...lab, ...LONG_WAIT },
    waits: (_limits, pollMs) => pollMs,
  }
}

function starting(name, { lab, ...rest } = {}) {
  return { name, lab: { ...LONG_WAIT, ...lab }, workers: 3, story: 'together', ...rest }
}

/** PostHog fails everybody at the start, and recovers. */
function down(name, answer, lab) {
  return starting(name, {
    lab,
    before: ({ api }) => api.always(...answer),
    recover: ({ api }) => api.normal(),
    lastsMs: 1.5 * POLL_MS,
    // The fleet pauses once PostHog has failed several of its processes.
    waits: (_limits, pollMs) => 2 * pollMs,
  })
}

/** One process has filled the cache, and has left. */
const warm = async ({ fleet }) => {
  const [first] = await fleet.start(1)
  await first.shutdown()
}

const STARTS = [
  starting('all start at once'),
  starting('all start at once, without `fetch`', { lab: { fetch: false } }),
  starting('all start at once, while evaluating flags', { lab: { evaluates: true } }),
  starting('eight start at once', { workers: 8 }),
  starting('all start one after another', { story: 'one by one' }),
  starting('a single process', { workers: 1 }),
  starting('a single process, without `fetch`', { workers: 1, lab: { fetch: false } }),
  starting('all start at once with a filled cache', { prepare: warm }),
  starting('PostHog takes 8 s (of a 30 s interval)', { lab: { ...HANGING, delayMs: SLOW_MS } }),
  starting('PostHog takes 8 s, without `fetch`', { lab: { ...HANGING, delayMs: SLOW_MS, fetch: false } }),
  down('PostHog answers 500 at first', [500]),
  down('PostHog answers 500 at first, without `fetch`', [500], { fetch: false }),
  down('PostHog answers 500 at first, while evaluating flags', [500], { evaluates: true }),
  down('PostHog answers 429 at first', [429, { retryAfter: 1 }]),
  starting('no server listens on the port of Redis', { prepare: (lab) => lab.proxy.break(NETWORK.refused) }),
  starting('Redis accepts connections and never answers', {
    lab: { options: { ...LONG_WAIT.options, ...SHORT_TIMEOUTS } },
    prepare: (lab) => lab.proxy.break(NETWORK.blackHole),
    waits: oneCall,
  }),
  starting('each message to or from Redis takes 30 ms', { prepare: (lab) => lab.proxy.break(NETWORK.slow(LATENCY_MS)), waits: connecting }),
]

const RESTART = { name: 'one process restarts', everywhere: true, lastsMs: 0, begin: ({ fleet }) => fleet.workers[0].shutdown() }

/** The process that called PostHog last cannot reach it from then on. */
function sickLeader(sick, fetch) {
  const begin = ({ fleet }) => (fleet.leader ?? fleet.workers[0]).sicken(sick, { afterMs: SLOW_MS })
  return {
    name: `${SICK[sick]}${fetch ? '' : ', without `fetch`'}`,
    lab: { ...(sick === 'hang' ? HANGING : LONG_WAIT), fetch },
    workers: 3,
    story: 'fault',
    fault: { begin, everywhere: true },
    lastsMs: 0,
  }
}

/** On these lines a call takes a good part of a second: the interval must be long beside that, as it is by default. */
const SLOW_LINES = ['trickle', 'narrow']
const SLOW_LINE_POLL_MS = 2 * FAULT_POLL_MS
const SLOW_CALL_MS = 500

/** Where keys go all the time, an edit may be gone before the others have loaded it: it then comes with the first poll afterwards. */
const HIDDEN_MS = FAULT_LASTS_MS + FAULT_POLL_MS - 3 * FAULT_POLL_MS

function ofFault({ id, name, topology, asUser, flags, tells = [], lastsMs = FAULT_LASTS_MS, ...fault }) {
  // Where servers are replaced, a call may wait for the new one without an error; and where keys go all the time, for its turn.
  const keysGo = id === 'deleted-again'
  const mayWait = tells.length > 0 || topology !== undefined || keysGo
  const isSlow = SLOW_LINES.includes(id)
  const options = { coldStartWaitMs: FAULT_POLL_MS, ...(mayWait && SHORT_TIMEOUTS), ...fault.options }
  return {
    name,
    lab: { pollMs: isSlow ? SLOW_LINE_POLL_MS : FAULT_POLL_MS, topology, asUser, flags, options },
    workers: 3,
    story: 'fault',
    fault,
    lastsMs,
    ...(isSlow && { waits: mayWait ? longestCall : () => SLOW_CALL_MS }),
    ...(!isSlow && mayWait && { waits: oneCall }),
    ...(mayWait && { laterMs: (limits) => oneCall(limits) + (keysGo ? HIDDEN_MS : 0) }),
  }
}

const faults = Object.fromEntries(Object.entries(FAULTS).map(([family, members]) => [family, members.map(ofFault)]))

export const SITUATIONS = {
  'an empty cache, and the first process cannot reach PostHog': [
    ...Object.keys(SICK).map((sick) => sickFirst(sick, { fetch: true })),
    ...DISTINCT.map((sick) => sickFirst(sick, { fetch: false })),
    askedAgain(),
    ...[true, false].flatMap((fetch) => EVALUATING.map((sick) => sickFirst(sick, { fetch, evaluates: true }))),
  ],
  'a running fleet, and the leader cannot reach PostHog': [
    ...[true, false].flatMap((fetch) => DISTINCT.map((sick) => sickLeader(sick, fetch))),
  ],
  'the start': STARTS,
  'a restart': [ofFault(RESTART)],
  ...faults,
}
