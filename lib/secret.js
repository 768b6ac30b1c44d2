'use strict'

const { createHash, timingSafeEqual } = require('node:crypto')

/** A hash, so that all compared values have the same length. */
const digest = (text) => createHash('sha256').update(text).digest()

/** Returns a function that tells whether a text is this secret, in constant time. */
function equalTo(secret) {
  const expected = digest(secret)
  return (given) => timingSafeEqual(digest(given), expected)
}

module.exports = { equalTo }
