// Every provider that a worker can run, by kind.

import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

export const OURS = 'posthog-flag-cache'

/** The known patterns, written anew as development code. */
export const PEERS = {
  docstring: { title: "posthog-node's example", load: async () => (await import('../peers/docstring.mjs')).DocstringProvider },
  kilo: { title: "Kilo's pull request", load: async () => (await import('../peers/kilo.mjs')).KiloProvider },
  python: { title: "posthog-python's example", load: async () => (await import('../peers/python.mjs')).PythonProvider },
}

/** Whether our native addon is built; `reason` says what is missing. */
export function oursIsBuilt() {
  try {
    loadOurs()
    return { built: true }
  } catch (error) {
    return { built: false, reason: error.message }
  }
}

/** The package as its users get it. */
export const loadOurs = () => createRequire(import.meta.url)('../../index.js')

/** The key in Redis under which a provider keeps the definitions. */
export const dataKey = (kind, projectKey) => `posthog:flags:${kind === OURS ? `{${projectKey}}` : projectKey}`

/** Loads what `kind` needs, and returns a function that makes one provider: `{ provider, close() }`. */
export async function prepareProvider(kind) {
  if (kind === 'none') return () => ({ provider: undefined, close() {} })
  if (kind === OURS) {
    const { FlagDefinitionCache } = loadOurs()
    return ({ projectKey, pollingIntervalMs, options: { passwordFile, passwordLastsMs, ...options } }) => {
      const credentials = async () => ({
        password: await readFile(passwordFile, 'utf8'),
        ...(passwordLastsMs && { expiresAt: Date.now() + passwordLastsMs }),
      })
      const settings = {
        projectKey,
        ...(pollingIntervalMs && { refreshIntervalMs: pollingIntervalMs }),
        ...(passwordFile && { credentials }),
        ...options,
      }
      return { provider: new FlagDefinitionCache(settings), close() {} }
    }
  }
  if (!PEERS[kind]) throw new Error(`unknown provider kind "${kind}": none, ${OURS}, ${Object.keys(PEERS).join(', ')}`)
  const [Provider, { Redis }] = await Promise.all([PEERS[kind].load(), import('ioredis')])
  return ({ projectKey, pollingIntervalMs, options }) => {
    const redis = new Redis(options.url)
    // posthog-node reports what a command throws; the connection's own events say it twice.
    redis.on('error', () => {})
    return { provider: new Provider(redis, projectKey, pollingIntervalMs), close: () => redis.disconnect() }
  }
}
