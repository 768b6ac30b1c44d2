'use strict'

module.exports = { ...require('./lib/metrics/prometheus.js'), ...require('./lib/metrics/opentelemetry.js') }
