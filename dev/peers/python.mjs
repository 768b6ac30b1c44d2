// The pattern of posthog-python's examples/redis_flag_cache.py: a lock of 60 s that names its owner, which the
// owner extends at every poll and alone releases (both in Lua), definitions for 24 h.

import { randomUUID } from 'node:crypto'

import { scaled } from './scale.mjs'

const TRY_LEAD = `
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`

const STOP_LEADING = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`

export class PythonProvider {
  constructor(redis, projectKey, pollingIntervalMs) {
    this.redis = redis
    this.key = `posthog:flags:${projectKey}`
    this.lock = `${this.key}:lock`
    this.owner = randomUUID()
    this.lockMs = scaled(60, pollingIntervalMs)
    this.dataMs = scaled(86_400, pollingIntervalMs)
  }

  async getFlagDefinitions() {
    const text = await this.redis.get(this.key)
    return text ? JSON.parse(text) : undefined
  }

  async shouldFetchFlagDefinitions() {
    return (await this.redis.eval(TRY_LEAD, 1, this.lock, this.owner, this.lockMs)) === 1
  }

  async onFlagDefinitionsReceived(data) {
    await this.redis.set(this.key, JSON.stringify(data), 'PX', this.dataMs)
  }

  async shutdown() {
    await this.redis.eval(STOP_LEADING, 1, this.lock, this.owner)
  }
}
