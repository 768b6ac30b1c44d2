'use strict'

const { DEFAULT_HOST, DEFAULT_TIMEOUT_MS, definitionsIn, requestDefinitions } = require('../api.js')
const { FlagCacheError } = require('../error.js')
const { invalidateUntilGranted } = require('../invalidation.js')
const { Failure } = require('./args.js')
const { MS, requestOptions } = require('./options.js')
const { ago, bytes, counted, duration } = require('./output.js')

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
    const request = requestOptions('refresh', values)
    // Loaded here, so that `--help` needs no addon.
    const { FlagDefinitionCache } = require('../../index.js')
    // This command needs to see a 402, not the definitions that are kept in spite of it.
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
    : (await invalidateUntilGranted(cache, () => cache.shouldFetchFlagDefinitions())) === 'granted'
  const { definitions: before } = cache.status()
  if (!isGranted) return outcomeOf(cache, { outcome: withoutTurn(cache.status(), isPatient), before })

  const response = await requestDefinitions(cache.fetch, projectKey, request)
  const { confirms } = cache.status().counters
  if (response.status === 200 && confirms === 0) await cache.onFlagDefinitionsReceived(await definitionsIn(response))
  const failed = troubles.find((trouble) => trouble.code !== 'ERR_FLAG_CACHE_API')
  if (failed) throw failed
  if (response.status === 304 && confirms === 0)
    throw new FlagCacheError('ERR_FLAG_CACHE_API', 'PostHog answered 304 to a request for all definitions')
  if (cache.status().counters.superseded > 0) throw new Failure(undefined, 'another worker has taken over meanwhile, and fetches anew')
  const { definitions: after } = cache.status()
  return outcomeOf(cache, { outcome: after?.version === before?.version ? 'unchanged' : 'published', before })
}

/** Why there was no grant, if the definitions are current all the same. Otherwise throws. */
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
