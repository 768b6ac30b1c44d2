// The Redis clients to compare with, and the provider that anyone would write on one.

/** By kind: its package, and `load()`, which gives `open(url)`: a connected `{ get, set, setIfAbsent, close }`. */
export const CLIENTS = {
  ioredis: {
    module: 'ioredis',
    async load() {
      const { Redis } = await import('ioredis')
      return async (url) => {
        const client = new Redis(url)
        return {
          get: (key) => client.get(key),
          set: (key, text) => client.set(key, text),
          setIfAbsent: async (key, text, ms) => (await client.set(key, text, 'PX', ms, 'NX')) === 'OK',
          close: () => client.disconnect(),
        }
      }
    },
  },
  'node-redis': {
    module: 'redis',
    async load() {
      const { createClient } = await import('redis')
      return async (url) => {
        const client = await createClient({ url }).connect()
        return {
          get: (key) => client.get(key),
          set: (key, text) => client.set(key, text),
          setIfAbsent: async (key, text, ms) => (await client.set(key, text, { PX: ms, NX: true })) === 'OK',
          close: () => client.destroy(),
        }
      }
    },
  },
  'valkey-glide': {
    module: '@valkey/valkey-glide',
    async load() {
      const { GlideClient, TimeUnit } = await import('@valkey/valkey-glide')
      return async (url) => {
        const { hostname: host, port } = new URL(url)
        // Its default of 250 ms is short for megabytes.
        const client = await GlideClient.createClient({ addresses: [{ host, port: Number(port) }], requestTimeout: 30_000 })
        return {
          get: (key) => client.get(key),
          set: (key, text) => client.set(key, text),
          setIfAbsent: async (key, text, ms) => {
            const options = { conditionalSet: 'onlyIfDoesNotExist', expiry: { type: TimeUnit.Milliseconds, count: ms } }
            return (await client.set(key, text, options)) === 'OK'
          },
          close: () => client.close(),
        }
      }
    },
  },
}

/** The definitions as JSON under one key, and a lock beside it, as in the example of posthog-node's documentation. */
export class OrdinaryProvider {
  #client
  #key
  #intervalMs

  constructor(client, projectKey, intervalMs) {
    this.#client = client
    this.#key = `posthog:flags:${projectKey}`
    this.#intervalMs = intervalMs
  }

  async getFlagDefinitions() {
    const text = await this.#client.get(this.#key)
    return text ? JSON.parse(text) : undefined
  }

  shouldFetchFlagDefinitions() {
    return this.#client.setIfAbsent(`${this.#key}:lock`, '1', this.#intervalMs)
  }

  async onFlagDefinitionsReceived(data) {
    await this.#client.set(this.#key, JSON.stringify(data))
  }
}
