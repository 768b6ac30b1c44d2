'use strict'

const { bytes, counted, duration } = require('./format.js')

/** What happened between two looks at the store, in words; without an earlier one, what there is. */
function changes({ record, error }, earlier) {
  if (error) return earlier.error?.message === error.message ? [] : [`cannot be read: [${error.code}] ${error.message}`]
  const before = earlier?.record
  const told = []
  if (earlier?.error) told.push('can be read again')
  if (before && record.invalidatedAt !== before.invalidatedAt && record.invalidatedAt !== null)
    told.push('invalidated: somebody said that the definitions have changed')
  // A short turn may be over already.
  if (record.fence > (before?.fence ?? 0)) told.push(`turn ${record.fence} given${record.lease ? ` to ${record.lease.owner}` : ''}`)
  if (!before || record.stored?.version !== before.stored?.version || record.damage !== before.damage) told.push(definitions(record))
  else if (record.stored && record.confirmedAt > (before.confirmedAt ?? 0))
    told.push(`confirmed: version ${record.stored.version} is current`)
  if (before?.leader && !record.leader) told.push(`${before.leader} leads no longer`)
  if (record.retryInMs !== null && (before?.retryInMs ?? null) === null)
    told.push(`pause: nobody calls PostHog for ${duration(record.retryInMs)}`)
  else if (before && before.retryInMs !== null && record.retryInMs === null) told.push('pause over')
  return told
}

function definitions({ stored, definitions, damage }) {
  if (damage) return `damaged: ${damage}`
  if (!stored) return 'no definitions'
  return `version ${stored.version}: ${counted(definitions.flags, 'flag')}, ${counted(definitions.cohorts, 'cohort')}, ${bytes(definitions.bytes)}`
}

module.exports = { changes }
