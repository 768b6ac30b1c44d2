'use strict'

const { FlagDefinitionCache, FlagCacheError } = require('./lib/cache.js')

module.exports = { FlagDefinitionCache, FlagCacheError }
