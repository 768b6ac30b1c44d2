'use strict'

const { createHash, timingSafeEqual } = require('node:crypto')

const digest = (text) => createHash('sha256').update(text).digest()

/** Returns what tells whether the header `Authorization` holds this key. How long that takes says nothing about the key. */
function bearerOf(secretKey) {
  const expected = digest(secretKey)
  return (header) => {
    const [, key = ''] = /^bearer +(\S+) *$/i.exec(header ?? '') ?? []
    return timingSafeEqual(digest(key), expected)
  }
}

module.exports = { bearerOf }
