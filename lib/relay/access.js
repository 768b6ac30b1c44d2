'use strict'

const { equalTo } = require('../secret.js')

/** Returns a function that tells whether the header `Authorization` contains this key. */
function bearerOf(secretKey) {
  const isKey = equalTo(secretKey)
  return (header) => {
    const [, key = ''] = /^bearer +(\S+) *$/i.exec(header ?? '') ?? []
    return isKey(key)
  }
}

module.exports = { bearerOf }
