// One process of a fleet: a real posthog-node client (or several), started by dev/harness/fleet.mjs, which it reports to over IPC.

import { now } from './clock.mjs'
import { record } from './history.mjs'
import { prepareProvider } from './providers.mjs'
import { installSickFetch } from './sick-fetch.mjs'
import { startClient } from './worker-client.mjs'

// A fleet that was killed leaves nobody behind.
process.once('disconnect', () => process.exit(process.exitCode ?? 0))
process.once('message', (config) => run(config).catch(fail))

async function run(config) {
  const { sicken, cure } = installSickFetch(config, (at) => report('sick-request', { at }))
  if (config.sick) sicken(config.sick, config.sickSettings)
  const [{ PostHog }, create] = await Promise.all([import(config.posthogNode ?? 'posthog-node'), prepareProvider(config.kind)])
  if (config.together) {
    const begin = new Promise((resolve) => process.once('message', resolve))
    report('loaded')
    await begin
  }

  const startedAt = now()
  const clients = Array.from({ length: config.clients ?? 1 }, () => startClient(PostHog, create, config, report))
  for (const { client, provider } of clients) {
    client.on('error', (error) => report('error', { error: plain(error) }))
    if (config.onError) provider?.onError?.((error) => report('cache-error', { error: plain(error) }))
  }
  const [{ client, provider }] = clients

  const history = []
  let newest = { at: startedAt }
  let isReady = false
  let evaluations = 0
  const note = (seen) => {
    if (!record(history, seen)) return
    report('version', seen)
    // Not from `seen.at`: this evaluation may have waited for the definitions.
    if (!isReady) report('ready', { ...seen, tookMs: now() - startedAt })
    isReady = true
  }
  const evaluate = async () => {
    const at = now()
    const version = summary(await Promise.all(clients.map((client) => client.evaluate())))
    evaluations += 1
    note({ version, at })
    // What ends late is not the current version, and may stand before one that was no change until then.
    if (at < newest.at) note(newest)
    else newest = { version, at }
    return version
  }
  for (const { client } of clients) client.on('localEvaluationFlagsLoaded', () => evaluate().catch(fail))
  if (config.evaluateEveryMs) setInterval(() => evaluate().catch(fail), config.evaluateEveryMs).unref()

  let leaving
  const leave = () => {
    leaving ??= Promise.all(clients.map((client) => client.close()))
    return leaving
  }
  const commands = {
    evaluate,
    /** The flags of several users, each as the arguments of `getAllFlags()`. */
    evaluateUsers: (users) => Promise.all(users.map((user) => client.getAllFlags(...user))),
    evaluateAll: () => client.getAllFlagsAndPayloads('fleet-user', { onlyEvaluateLocally: true }),
    reload: async () => {
      await Promise.all(clients.map(({ client }) => client.reloadFeatureFlags()))
      return evaluate()
    },
    status: async () => ({
      id: config.id,
      pid: process.pid,
      version: await evaluate(),
      ready: client.isLocalEvaluationReady(),
      memory: memory(),
      resources: process.getActiveResourcesInfo().length,
      updates: clients[0].updates,
      evaluations,
      provider: typeof provider?.status === 'function' ? await provider.status() : null,
    }),
    call: (method, ...args) => provider[method](...args),
    sicken,
    cure,
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

/** The version that all of them have; null while one of them has none. */
function summary(versions) {
  return versions.includes(null) ? null : [...new Set(versions)].join('|')
}

/** After a collection, where the process was started so that it can be asked for one. */
function memory() {
  globalThis.gc?.()
  return process.memoryUsage()
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
