'use strict'

// Before 5.50 posthog-node's shutdown() leaves a timer of 30 s behind where there is a provider.
require('./client.cjs')
  .use(require('posthog-node'), require('posthog-flag-cache'))
  .then(() => process.exit())
