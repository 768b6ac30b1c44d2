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
  if (damage) rows.push(['definitions', `damaged (${damage})`])
  else if (!definitions) rows.push(['definitions', 'none'])
  else {
    const { flags, cohorts, storedBytes } = definitions
    rows.push(
      [
        'definitions',
        `${counted(flags, 'flag')}, ${counted(cohorts, 'cohort')}, ${bytes(definitions.bytes)} (${bytes(storedBytes)} stored)`,
      ],
      ['version', definitions.version],
      ['etag', definitions.etag ?? 'not known'],
      ['published', ago(definitions.publishedMsAgo)],
      ['confirmed', ago(definitions.confirmedMsAgo)],
    )
  }
  if (json.failedFetches > 0) rows.push(['failing', `fetches failed in a row: ${json.failedFetches}; the processes say why (onError)`])
  if (json.refusedMsAgo !== null) rows.push(['refused', `PostHog answered 402 (quota exceeded) ${ago(json.refusedMsAgo)}`])
  if (json.outdatedMsAgo !== null)
    rows.push(['outdated', `the store does not take newer definitions, for the first time ${ago(json.outdatedMsAgo)}`])
  return [
    ...rows,
    [
      'leader',
      json.leader === null ? 'nobody: the next poll that is due fetches' : `${json.leader}, for ${duration(json.leaseRemainingMs)} yet`,
    ],
    ['fence', `${json.fence}, given ${ago(json.lastGrantMsAgo)}`],
    ['pause', json.retryInMs === null ? 'none' : `nobody calls PostHog for ${duration(json.retryInMs)}`],
    [
      'expires',
      json.expiresInMs === null
        ? json.definitions
          ? 'not known: no right to PTTL'
          : 'nothing there'
        : `in ${duration(json.expiresInMs)}, unless somebody polls`,
    ],
    ['round trip', duration(json.roundTripMs)],
  ]
}

module.exports = { recordJson, recordRows }
