// Fleets of real posthog-node processes that share a directory.

import { describe } from 'node:test'

import { fleetSuite } from '../support/fleet-suite.mjs'
import { STORES } from '../support/stores.mjs'

describe('a fleet over a directory', () => fleetSuite(STORES.directory))
