// One process of a fleet: a real posthog-node client, started by dev/fleet.mjs, which it reports to over IPC.

import { now } from './clock.mjs'
import { VERSION_FLAG } from './definitions.mjs'
import { prepareProvider } from './providers.mjs'

// A fleet that was killed leaves nobody behind.
process.once('disconnect', () => process.exit(process.exitCode ?? 0))
process.once('message', (config) => run(config).catch(fail))

async function run(config) {
  nameCalls(config.id, config.host)
  const [{ PostHog }, create] = await Promise.all([import(config.posthogNode ?? 'posthog-node'), prepareProvider(config.kind)])
  if (config.together) {
    const begin = new Promise((resolve) => process.once('message', resolve))
    report('loaded')
    await begin
  }

  const { provider, close } = create(config)
  const startedAt = now()
  const client = new PostHog(config.projectKey, {
    host: config.host,
    // Both names, for the versions that know only the older one.
    ...(config.secretKey && { secretKey: config.secretKey, personalApiKey: config.secretKey }),
    featureFlagsPollingInterval: config.pollingIntervalMs,
    flagDefinitionCacheProvider: provider,
    flushAt: 1_000,
    ...(config.sharedEtag && provider?.fetch && { fetch: provider.fetch }),
    ...config.posthogOptions,
  })
  client.on('error', (error) => report('error', { error: plain(error) }))
  let updates = 0
  if (config.push && provider?.onUpdate) {
    provider.onUpdate(() => {
      updates += 1
      return client.reloadFeatureFlags()
    })
  }

  let version
  // Nothing here may cause a call: unready, an evaluation would load; not local, it would ask PostHog.
  const evaluate = async () => {
    const at = now()
    const seen = client.isLocalEvaluationReady() ? await evaluateLocally(client) : null
    if (seen !== (version ?? null)) {
      const first = version === undefined
      version = seen
      report('version', { version, at })
      if (first) report('ready', { version, at, tookMs: at - startedAt })
    }
    return version ?? null
  }
  client.on('localEvaluationFlagsLoaded', () => evaluate().catch(fail))

  let leaving
  const leave = () => {
    leaving ??= (async () => {
      await client.shutdown(config.shutdownTimeoutMs)
      close()
    })()
    return leaving
  }
  const commands = {
    evaluate,
    evaluateAll: () => client.getAllFlagsAndPayloads('fleet-user', { onlyEvaluateLocally: true }),
    reload: async () => {
      await client.reloadFeatureFlags()
      return evaluate()
    },
    status: async () => ({
      id: config.id,
      pid: process.pid,
      version: await evaluate(),
      ready: client.isLocalEvaluationReady(),
      memory: process.memoryUsage(),
      updates,
      provider: typeof provider?.status === 'function' ? await provider.status() : null,
    }),
    call: (method, ...args) => provider[method](...args),
    // Disconnected, nothing but a forgotten handle keeps this process alive: the fleet sees to its end.
    shutdown: leave,
  }
  process.on('message', async ({ request, command, args }) => {
    try {
      const value = await commands[command](...args)
      process.send({ request, value: sendable(value) })
    } catch (error) {
      process.send({ request, error: plain(error) })
    }
    if (command === 'shutdown') process.disconnect()
  })
  process.once('SIGTERM', () => leave().then(() => process.disconnect(), fail))
  report('started', { startedAt })
}

async function evaluateLocally(client) {
  const options = { onlyEvaluateLocally: true, flagKeys: [VERSION_FLAG] }
  const { featureFlags } = await client.getAllFlagsAndPayloads('fleet-user', options)
  return featureFlags[VERSION_FLAG] ?? null
}

// On the global fetch, so that it works beneath every wrapper, and tells the stand-in who calls.
function nameCalls(id, host) {
  const plainFetch = globalThis.fetch
  globalThis.fetch = (resource, options = {}) => {
    const url = String(resource?.url ?? resource)
    if (!url.startsWith(host)) return plainFetch(resource, options)
    const headers = new Headers(options.headers ?? resource?.headers)
    headers.set('x-worker', id)
    return plainFetch(resource, { ...options, headers })
  }
}

function report(kind, details = {}) {
  if (process.connected) process.send({ report: kind, ...details })
}

function plain(error) {
  const { name, message, code, stack } = error ?? {}
  const cause = error?.cause === undefined ? undefined : String(error.cause?.message ?? error.cause)
  return { name, message: message ?? String(error), code, stack, cause }
}

/** Values with functions inside (a status with methods, say) cannot cross; their data can. */
function sendable(value) {
  try {
    return structuredClone(value)
  } catch {
    return JSON.parse(JSON.stringify(value))
  }
}

function fail(error) {
  process.exitCode = 1
  console.error(error)
  if (process.connected) process.send({ report: 'failed', error: plain(error) }, () => process.exit(1))
  else process.exit(1)
}
