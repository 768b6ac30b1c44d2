// The pattern of the example in posthog-node's own documentation (extensions/feature-flags/cache.ts): a lock
// without an owner for 60 s, definitions for 300 s, the lock deleted after a publish and at shutdown.

import { scaled } from './scale.mjs'

export class DocstringProvider {
  constructor(redis, projectKey, pollingIntervalMs) {
    this.redis = redis
    this.key = `posthog:flags:${projectKey}`
    this.lock = `${this.key}:lock`
    this.lockMs = scaled(60, pollingIntervalMs)
    this.dataMs = scaled(300, pollingIntervalMs)
  }

  async getFlagDefinitions() {
    const text = await this.redis.get(this.key)
    return text ? JSON.parse(text) : undefined
  }

  async shouldFetchFlagDefinitions() {
    return (await this.redis.set(this.lock, '1', 'PX', this.lockMs, 'NX')) === 'OK'
  }

  async onFlagDefinitionsReceived(data) {
    await this.redis.set(this.key, JSON.stringify(data), 'PX', this.dataMs)
    await this.redis.del(this.lock)
  }

  async shutdown() {
    await this.redis.del(this.lock)
  }
}
