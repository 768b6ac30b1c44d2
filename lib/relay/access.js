'use strict'

const { equalTo } = require('../secret.js')

/** Returns what tells whether the header `Authorization` holds this key. */
function bearerOf(secretKey) {
  const isKey = equalTo(secretKey)
  return (header) => {
    const [, key = ''] = /^bearer +(\S+) *$/i.exec(header ?? '') ?? []
    return isKey(key)
  }
}

module.exports = { bearerOf }
