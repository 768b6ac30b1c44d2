'use strict'

const { DEFAULT_HOST, DEFAULT_TIMEOUT_MS, definitionsIn, requestDefinitions } = require('../api.js')
const { FlagCacheError } = require('../error.js')
const { invalidateUntilGranted } = require('../invalidation.js')
const { Failure } = require('./args.js')
const { MS, requestOptions } = require('./options.js')
const { ago, bytes, counted, duration } = require('./output.js')

module.exports = {
  name: 'refresh',
  summary: 'fetch from PostHog now, for all processes (deploy hooks, cron)',
  isFleets: true,
  options: {
    'if-due': { text: 'fetch only if no process has fetched for refresh-interval-ms' },
    host: { value: '<url>', env: 'POSTHOG_HOST', text: `PostHog's URL; default: ${DEFAULT_HOST}` },
    'request-timeout-ms': { value: MS, text: `timeout for PostHog's answer; default: ${DEFAULT_TIMEOUT_MS}` },
    json: { text: 'print the outcome as JSON' },
  },
  text: `Fetches the definitions from PostHog once, and publishes new ones. Processes with onUpdate() get them at once, the others at
their next poll. The secret key comes from POSTHOG_SECRET_KEY.

It fetches even if another process has just fetched: this is what you want after a deploy or an edit. Unchanged definitions cost 1
flag request, because the request sends the shared ETag. For a cron job that replaces polling processes, use --if-due: it
fetches only if the interval is over. If several commands run at once, one answer can serve many of them: a command uses the
answer to any request that began after it started. An earlier request may have missed your edit, so two requests are usual.
While PostHog asks for a pause, none of them fetches.`,
  exitCodes: [
    ['0', 'published, unchanged, just fetched by another process, or (--if-due) not due'],
    ['1', 'PostHog refused, failed or asked for a pause, or the store cannot be changed'],
  ],
  examples: [
    ['refresh', 'in a deploy hook, or for a webhook'],
    ['refresh --if-due', 'in cron, each minute; processes with the role reader need no key'],
    ['refresh --host https://eu.i.posthog.com', 'for a project in the EU'],
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
  const errors = []
  cache.onError((error) => errors.push(error))
  const isGranted = isPatient
    ? await cache.shouldFetchFlagDefinitions()
    : (await invalidateUntilGranted(cache, () => cache.shouldFetchFlagDefinitions())) === 'granted'
  const { definitions: before } = cache.status()
  if (!isGranted) return outcomeOf(cache, { outcome: withoutGrant(cache.status(), isPatient), before })

  const response = await requestDefinitions(cache.fetch, projectKey, request)
  if (response.status === 200 && cache.status().counters.confirms === 0)
    await cache.onFlagDefinitionsReceived(await definitionsIn(response))
  const { definitions: after, counters } = cache.status()
  if (counters.publishes + counters.confirms === 0) throw unshared(response, errors, counters)
  return outcomeOf(cache, { outcome: after?.version === before?.version ? 'unchanged' : 'published', before })
}

/** Codes of reports that are no failure of this refresh: of a repair, and of options without effect. They may come at any time. */
const NOT_FAILURES = ['ERR_FLAG_CACHE_CORRUPT', 'ERR_FLAG_CACHE_OPTIONS']

/** Why neither new definitions nor a confirmation reached the store. `errors`: what was reported meanwhile. */
function unshared(response, errors, { superseded }) {
  const failed = errors.findLast(({ code }) => !NOT_FAILURES.includes(code))
  if (superseded === 0 && failed) return failed
  if (response.status === 304)
    return new FlagCacheError(
      'ERR_FLAG_CACHE_API',
      'PostHog answered 304 (not modified) to a request without an ETag. Check whether a proxy caches the answers.',
    )
  return new Failure(
    undefined,
    'another process is fetching, so this answer was not published. Run `status` to see what that process publishes.',
  )
}

/** Why there was no grant, if the definitions are current all the same. Otherwise throws. */
function withoutGrant({ retryInMs, definitions, lastGrantMsAgo, leader }, isPatient) {
  if (retryInMs !== null) {
    throw new FlagCacheError(
      'ERR_FLAG_CACHE_API',
      `PostHog failed or asked for a pause, so no process calls it for another ${duration(retryInMs)}. Run refresh again then.`,
    )
  }
  if (definitions && isPatient) return 'not-due'
  if (definitions && definitions.ageMs <= lastGrantMsAgo) return 'fetched-elsewhere'
  throw new Failure(undefined, `${leader ?? 'another process'} is fetching, but has no answer yet. Run refresh again later.`)
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
      return `not due: a process fetched ${ago(lastGrantMsAgo)}; ${what}`
    default:
      return `another process has just fetched ${what}`
  }
}
