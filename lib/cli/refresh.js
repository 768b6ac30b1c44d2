'use strict'

const { FlagCacheError } = require('../error.js')
const { invalidateUntilGranted } = require('../invalidation.js')
const { Failure, UsageError } = require('./args.js')
const { MS, number } = require('./options.js')
const { ago, bytes, counted, duration } = require('./output.js')

/** posthog-node's defaults. */
const DEFAULT_HOST = 'https://us.i.posthog.com'
const DEFAULT_TIMEOUT_MS = 10_000

/** What an answer means, in the words of who has to do something about it. */
const REFUSALS = {
  401: 'the secret key is wrong, or of another project',
  402: 'the quota of flag requests is used up (PostHog: Billing)',
  403: 'the secret key has no right to read the definitions',
  404: 'there is no such API: is POSTHOG_HOST right?',
  429: 'too many requests; the fleet pauses for as long as PostHog asks',
}

module.exports = {
  name: 'refresh',
  summary: 'fetch from PostHog now, for the whole fleet: deploy hooks, cron',
  isFleets: true,
  options: {
    'if-due': { text: 'only if nobody has fetched for refresh-interval-ms' },
    host: { value: '<url>', env: 'POSTHOG_HOST', text: `PostHog; default: ${DEFAULT_HOST}` },
    'request-timeout-ms': { value: MS, text: `for PostHog's answer; default: ${DEFAULT_TIMEOUT_MS}` },
    json: { text: 'the outcome as JSON' },
  },
  text: `Asks PostHog once, and publishes what is new: every process of the fleet has it at once (onUpdate), or with its next poll.
The secret key comes from POSTHOG_SECRET_KEY.

It asks even if somebody has just done so: after a deploy or an edit that is what you want. Definitions that did not change
cost 1 flag request, because the request carries the fleet's ETag. For a cron job in place of polling processes, use --if-due:
then it asks only if it is time. Either way it takes its turn like any worker: of several at once, one asks, and the others
have its answer; and while PostHog wants a pause, nobody asks.`,
  exitCodes: [
    ['0', 'published, unchanged, just fetched by another worker, or (--if-due) not due'],
    ['1', 'PostHog refused, failed or wants a pause, or the store cannot be written'],
  ],
  examples: [
    ['refresh', 'a deploy hook, or the handler of a webhook'],
    ['refresh --if-due', 'cron, each minute: processes with role reader need no key'],
    ['refresh --host https://eu.i.posthog.com', 'a project in the EU'],
  ],

  async run({ values, options, output }) {
    const request = requestOptions(values)
    // Here: `--help` needs no addon.
    const { FlagDefinitionCache } = require('../../index.js')
    // This command wants to see a 402, not the definitions that outlast it.
    const cache = new FlagDefinitionCache({ ...options, whenRefused: 'clear' })
    try {
      const outcome = await refresh(cache, { request, projectKey: options.projectKey, isPatient: values['if-due'] })
      if (values.json) output.json(outcome)
      else output.line(inWords(outcome))
      return 0
    } finally {
      await cache.shutdown()
    }
  },
}

async function refresh(cache, { request, projectKey, isPatient }) {
  const troubles = []
  cache.onError((error) => troubles.push(error))
  const isGranted = isPatient
    ? await cache.shouldFetchFlagDefinitions()
    : await invalidateUntilGranted(cache, () => cache.shouldFetchFlagDefinitions())
  const { definitions: before } = cache.status()
  if (!isGranted) return outcomeOf(cache, { outcome: withoutTurn(cache.status(), isPatient), before })

  const response = await requestDefinitions(cache.fetch, projectKey, request)
  const { confirms } = cache.status().counters
  if (response.status === 200 && confirms === 0) await publish(cache, response)
  const failed = troubles.find((trouble) => trouble.code !== 'ERR_FLAG_CACHE_API')
  if (failed) throw failed
  if (response.status === 304 && confirms === 0)
    throw new FlagCacheError('ERR_FLAG_CACHE_API', 'PostHog answered 304 to a request for all definitions')
  if (cache.status().counters.superseded > 0) throw new Failure(undefined, 'another worker has taken over meanwhile, and fetches anew')
  const { definitions: after } = cache.status()
  return outcomeOf(cache, { outcome: after?.version === before?.version ? 'unchanged' : 'published', before })
}

/** Where to ask, as whom, and how patiently. Of neither the host nor the key is anything repeated in a message. */
function requestOptions(values, env = process.env) {
  const secretKey = env.POSTHOG_SECRET_KEY?.trim()
  if (!secretKey)
    throw new UsageError('refresh needs the secret key of the project: the environment variable POSTHOG_SECRET_KEY, phs_… or phx_…')
  // If a header cannot hold the key, fetch quotes the key in its error.
  if (!/^[\x21-\x7e]+$/.test(secretKey)) throw new UsageError('POSTHOG_SECRET_KEY holds characters that no key has')
  const given = values.host ?? (env.POSTHOG_HOST?.trim() || DEFAULT_HOST)
  const host = URL.canParse(given) ? new URL(given) : undefined
  if (!host || !/^https?:$/.test(host.protocol) || host.username || host.password || host.search || host.hash) {
    throw new UsageError('the host must be like https://eu.i.posthog.com, without user, password and query: --host, or POSTHOG_HOST')
  }
  const name = 'request-timeout-ms'
  const timeoutMs = values[name] === undefined ? DEFAULT_TIMEOUT_MS : number(name, values[name])
  return { secretKey, host: host.href.replace(/\/+$/, ''), timeoutMs }
}

/** Asks PostHog as posthog-node does. */
async function requestDefinitions(fetch, projectKey, { host, secretKey, timeoutMs }) {
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${secretKey}` }
  const signal = AbortSignal.timeout(timeoutMs)
  const url = `${host}/flags/definitions?token=${encodeURIComponent(projectKey)}&send_cohorts`
  const refuse = (message, cause) => {
    throw new FlagCacheError('ERR_FLAG_CACHE_API', message, cause)
  }
  try {
    const response = await fetch(url, { method: 'GET', headers, signal })
    if (response.status === 200 || response.status === 304) return response
    const meaning = REFUSALS[response.status] ?? (response.status >= 500 ? 'it fails; try again later' : 'which was not expected')
    return refuse(`PostHog answered ${response.status}: ${meaning}`)
  } catch (cause) {
    if (cause instanceof FlagCacheError) throw cause
    if (signal.aborted) return refuse(`PostHog did not answer within ${timeoutMs} ms`, cause)
    return refuse(`PostHog cannot be reached at ${host}: ${cause.cause?.message || cause.cause?.code || cause.message}`, cause)
  }
}

async function publish(cache, response) {
  let definitions
  try {
    definitions = await response.json()
  } catch (cause) {
    throw new FlagCacheError('ERR_FLAG_CACHE_API', 'PostHog answered something else than flag definitions', cause)
  }
  await cache.onFlagDefinitionsReceived(definitions)
}

/** Why it was not our turn, where that is as good as having fetched. */
function withoutTurn({ retryInMs, definitions, lastGrantMsAgo, leader }, isPatient) {
  if (retryInMs !== null) {
    throw new FlagCacheError(
      'ERR_FLAG_CACHE_API',
      `PostHog failed, or asked for a pause: nobody calls it for another ${duration(retryInMs)}`,
    )
  }
  if (definitions && isPatient) return 'not-due'
  if (definitions && definitions.ageMs <= lastGrantMsAgo) return 'fetched-elsewhere'
  throw new Failure(undefined, `${leader ?? 'another worker'} is fetching, and has no answer yet`)
}

function outcomeOf(cache, { outcome, before }) {
  const { definitions, lastGrantMsAgo } = cache.status()
  const { version, etag, flags, bytes, ageMs } = definitions
  return { outcome, version, previousVersion: before?.version ?? null, etag, flags, bytes, ageMs, lastGrantMsAgo }
}

function inWords({ outcome, version, flags, bytes: length, lastGrantMsAgo }) {
  const what = `version ${version}: ${counted(flags, 'flag')}, ${bytes(length)}`
  switch (outcome) {
    case 'published':
      return `published ${what}`
    case 'unchanged':
      return `unchanged: ${what}`
    case 'not-due':
      return `not due: somebody fetched ${ago(lastGrantMsAgo)}; ${what}`
    default:
      return `another worker has just fetched ${what}`
  }
}
