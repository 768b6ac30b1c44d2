'use strict'

const { createRelay } = require('./lib/relay/relay.js')

module.exports = { createRelay }
