'use strict'

const { createHash, timingSafeEqual } = require('node:crypto')

/** A hash, so that all compared values have the same length. */
const digest = (text) => createHash('sha256').update(text).digest()

/** Returns a function that tells whether a text is this secret, in constant time. */
function equalTo(secret) {
  const expected = digest(secret)
  return (given) => timingSafeEqual(digest(given), expected)
}

/** Returns a function that tells whether the header `Authorization` contains this token, after `Bearer`. */
function bearerOf(token) {
  const isToken = equalTo(token)
  return (header) => {
    const [, given = ''] = /^bearer +(.*)$/i.exec(header ?? '') ?? []
    return isToken(given.trimEnd())
  }
}

module.exports = { bearerOf }
