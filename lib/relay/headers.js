'use strict'

/** Headers of one connection, not of the message (RFC 9110, 7.6.1). `Expect` was already answered, and the framing is new. */
const OF_CONNECTION = new Set([
  'connection',
  'expect',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** The value of a header in a flat list of names and values. Several values are joined. */
function combined(list, wanted) {
  const values = []
  for (let at = 0; at < list.length; at += 2) if (list[at].toLowerCase() === wanted) values.push(list[at + 1])
  return values.length > 0 ? values.join(', ') : undefined
}

/** The list for the next hop. Order, spelling and repetitions stay. `content-length` stays too, whatever `Connection` contains. */
function endToEnd(list, removed = []) {
  const named = (combined(list, 'connection') ?? '').split(',').map((name) => name.trim().toLowerCase())
  const dropped = new Set([...OF_CONNECTION, ...named.filter((name) => name !== 'content-length'), ...removed])
  const kept = []
  for (let at = 0; at < list.length; at += 2) if (!dropped.has(list[at].toLowerCase())) kept.push(list[at], list[at + 1])
  return kept
}

module.exports = { endToEnd, combined }
