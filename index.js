'use strict'

module.exports = require('./lib/cache.js')
