// Fleets of real posthog-node processes that share a Redis whose server lacks RESP3.

import { describe } from 'node:test'

import { fleetSuite } from '../support/fleet-suite.mjs'
import { redisWithoutResp3 } from '../support/stores.mjs'

describe('a fleet over Redis without RESP3', () => fleetSuite(redisWithoutResp3))
