'use strict'

const { ENCODINGS } = require('./definitions.js')

/** By header, because clients send the same few. Limited, because a client can send any value. */
const known = new Map()
const MAX_KNOWN = 100

/** The encoding of the answer, from the header `Accept-Encoding`. */
function encodingFor(header = '') {
  let encoding = known.get(header)
  if (encoding === undefined) {
    encoding = best(header)
    if (known.size >= MAX_KNOWN) known.clear()
    known.set(header, encoding)
  }
  return encoding
}

function best(header) {
  const weights = new Map()
  for (const part of header.toLowerCase().split(',')) {
    const [name, ...parameters] = part.split(';').map((text) => text.trim())
    const weight = parameters.find((text) => text.startsWith('q='))
    weights.set(name, weight ? Number(weight.slice(2)) : 1)
  }
  const weightOf = (name) => weights.get(name) ?? weights.get('*') ?? 0
  const accepted = ENCODINGS.filter((name) => weightOf(name) > 0)
  return accepted.sort((one, other) => weightOf(other) - weightOf(one))[0] ?? 'identity'
}

/** Whether the header `If-None-Match` contains this ETag. Weak and strong ETags compare as equal (RFC 9110, 13.1.2). */
function isKnown(header, etag) {
  if (header === undefined || header === null) return false
  const opaque = (tag) => tag.trim().replace(/^W\//, '')
  const own = opaque(etag)
  return header.split(',').some((tag) => tag.trim() === '*' || opaque(tag) === own)
}

module.exports = { encodingFor, isKnown }
