'use strict'

const { ago, bytes, counted, duration } = require('./output.js')

/** The shared state for `--json`: durations instead of times, with the names of `flagCache.status()`. */
function recordJson(record, projectKey) {
  const since = (at) => (at === null ? null : Math.max(0, record.now - at))
  const { stored, definitions, lease } = record
  return {
    projectKey,
    backend: record.backend,
    time: new Date(record.now).toISOString(),
    definitions: stored && {
      version: stored.version,
      etag: stored.etag,
      flags: definitions?.flags ?? null,
      cohorts: definitions?.cohorts ?? null,
      bytes: definitions?.bytes ?? null,
      storedBytes: stored.bytes,
      publishedMsAgo: since(stored.publishedAt),
      confirmedMsAgo: since(record.confirmedAt),
    },
    damage: record.damage,
    leader: record.leader,
    leaseRemainingMs: record.leader === null ? null : lease.expiresAt - record.now,
    fence: record.fence,
    lastGrantMsAgo: since(record.grantedAt),
    invalidatedMsAgo: since(record.invalidatedAt),
    failedFetches: record.failures,
    refusedMsAgo: since(record.refusedAt),
    outdatedMsAgo: since(record.outdatedAt),
    retryInMs: record.retryInMs,
    expiresInMs: record.expiresInMs,
    roundTripMs: record.roundTripMs,
  }
}

/** The same as a table: labels and texts. */
function recordRows(json) {
  const { definitions, damage, backend } = json
  const rows = [
    ['project', json.projectKey],
    ['store', [backend.location, backend.server].filter(Boolean).join(', ')],
  ]
  if (damage) rows.push(['definitions', damage])
  else if (!definitions) rows.push(['definitions', 'none'])
  else {
    const { flags, cohorts, storedBytes } = definitions
    rows.push(
      [
        'definitions',
        `${counted(flags, 'flag')}, ${counted(cohorts, 'cohort')}, ${bytes(definitions.bytes)} (${bytes(storedBytes)} stored)`,
      ],
      ['version', definitions.version],
      ['etag', definitions.etag ?? 'unknown'],
      ['published', ago(definitions.publishedMsAgo)],
      ['confirmed', ago(definitions.confirmedMsAgo)],
    )
  }
  if (json.failedFetches > 0)
    rows.push([
      'failing',
      `${counted(json.failedFetches, 'consecutive failed fetch', 'es')}; the processes report the reasons to onError()`,
    ])
  if (json.refusedMsAgo !== null) rows.push(['refused', `PostHog answered 402 (quota exceeded) ${ago(json.refusedMsAgo)}`])
  if (json.outdatedMsAgo !== null)
    rows.push(['outdated', `the store cannot take newer definitions; first failure ${ago(json.outdatedMsAgo)}`])
  return [
    ...rows,
    [
      'leader',
      json.leader === null
        ? 'none: a process fetches as soon as the interval is over'
        : `${json.leader}, lease ends in ${duration(json.leaseRemainingMs)}`,
    ],
    ['fence', `${json.fence}, granted ${ago(json.lastGrantMsAgo)}`],
    ['pause', json.retryInMs === null ? 'none' : `no process calls PostHog for ${duration(json.retryInMs)}`],
    [
      'expires',
      json.expiresInMs === null
        ? json.definitions
          ? 'unknown: the user lacks the permission +pttl'
          : 'nothing is stored'
        : `in ${duration(json.expiresInMs)}, unless a process polls`,
    ],
    ['round trip', duration(json.roundTripMs)],
  ]
}

module.exports = { recordJson, recordRows }
