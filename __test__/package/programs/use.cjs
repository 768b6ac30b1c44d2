'use strict'

require('./client.cjs').use(require('posthog-node'), require('posthog-flag-cache'))
