// The password is told to the server, and to nobody else: whatever fails, nothing that a process writes, throws or shows holds it.

import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { describe, test } from 'node:test'

import { NETWORK, startFaultProxy } from '../../dev/harness/fault-proxy.mjs'
import { startNode } from '../support/child.mjs'
import { standIn } from '../support/client.mjs'
import { ENCODED, FORMS, PASSWORD, SECRET_KEY } from '../support/secrets.mjs'
import { closedPort, redisFor } from '../support/stores.mjs'

/** How a process may come by its password: `(port) => { options, env }`. */
const WAYS = {
  'in the url': (port) => ({ options: { url: `redis://:${ENCODED}@127.0.0.1:${port}` } }),
  'in the url, with a user': (port) => ({ options: { url: `redis://default:${ENCODED}@127.0.0.1:${port}` } }),
  'as an option': (port) => ({ options: { url: `redis://127.0.0.1:${port}`, password: PASSWORD } }),
  'as an option, over another in the url': (port) => ({ options: { url: `redis://:${ENCODED}%20@127.0.0.1:${port}`, password: PASSWORD } }),
  'by a function': (port) => ({ options: { url: `redis://127.0.0.1:${port}` }, env: { RETURNED: PASSWORD } }),
  'in REDIS_URL': (port) => ({ options: {}, env: { REDIS_URL: `redis://:${ENCODED}@127.0.0.1:${port}` } }),
}

/** Answers every command with an error that quotes it, as a proxy may that does not know it. */
async function parrot(t) {
  const sockets = new Set()
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}))
    socket.on('data', (data) => {
      const commands = String(data)
      const error = `-ERR cannot pass on ${commands.replaceAll('\r\n', ' ')}\r\n`
      // As many answers as commands.
      socket.write(error.repeat(commands.match(/^\*/gm)?.length ?? 1))
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return server.address().port
}

const requiring = async (t, password, args = []) => redisFor(t, { args: ['--requirepass', password, ...args] })

/** What is wrong: `(t) => { port, strike?, code }`; `strike()` comes once the process has its definitions. */
const TROUBLES = {
  'the password is wrong': async (t) => ({ port: (await requiring(t, 'another')).port, code: 'AUTH' }),
  'the password is revoked': async (t) => {
    const redis = await requiring(t, PASSWORD)
    const admin = redis.client({ password: PASSWORD })
    const strike = async () => {
      await admin.config('SET', 'requirepass', 'another')
      for (const type of ['normal', 'pubsub']) await admin.call('CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes')
    }
    return { port: redis.port, strike, code: 'AUTH' }
  },
  'the server does not know the commands to log in with': async (t) => ({
    port: (
      await requiring(
        t,
        PASSWORD,
        ['HELLO', 'AUTH'].flatMap((name) => ['--rename-command', name, '']),
      )
    ).port,
    code: 'AUTH',
  }),
  'the server quotes all that it is told': async (t) => ({ port: await parrot(t), code: 'UNAVAILABLE' }),
  'the connection is refused': async () => ({ port: await closedPort(), code: 'UNAVAILABLE' }),
  'the server is lost': async (t) => {
    const redis = await requiring(t, PASSWORD)
    return { port: redis.port, strike: () => redis.stop(), code: 'UNAVAILABLE' }
  },
  'the server hangs': async (t) => {
    const redis = await requiring(t, PASSWORD)
    return { port: redis.port, strike: () => redis.pause(), code: 'TIMEOUT' }
  },
  'nobody answers': async (t) => {
    const proxy = await startFaultProxy(await closedPort())
    t.after(() => proxy.close())
    await proxy.break(NETWORK.blackHole)
    return { port: Number(new URL(proxy.url).port), code: 'TIMEOUT' }
  },
}

/** A process that shows all it can, as text. */
const SOURCE = `
  const { inspect, format } = require('node:util')
  const { FlagDefinitionCache } = require('posthog-flag-cache')
  const { PostHog } = require('posthog-node')
  const { options, host, projectKey, secretKey } = JSON.parse(process.env.CONFIG)

  if (process.env.RETURNED) options.credentials = () => ({ password: process.env.RETURNED })

  const texts = []
  function show(value) {
    texts.push(inspect(value, { showHidden: true, depth: Infinity, getters: true, maxStringLength: Infinity }), format('%s %o %j', value, value, value))
    for (let error = value; error instanceof Error; error = error.cause) {
      texts.push(String(error), error.stack, error.message, JSON.stringify({ ...error }), inspect(Object.getOwnPropertyDescriptors(error)))
    }
  }
  process.on('warning', show)

  const cache = new FlagDefinitionCache({ projectKey, connectTimeoutMs: 300, commandTimeoutMs: 300, refreshIntervalMs: 100, ...options })
  cache.onError(show)
  cache.onUpdate(() => {})
  const client = new PostHog(projectKey, { host, secretKey, featureFlagsPollingInterval: 3_600_000, flagDefinitionCacheProvider: cache, fetch: cache.fetch })
  client.on('error', show)
  client.debug()

  async function tryAll() {
    const codes = new Set()
    const calls = [() => cache.getFlagDefinitions(), () => cache.shouldFetchFlagDefinitions(), () => cache.onFlagDefinitionsReceived({ flags: [] }), () => cache.invalidate()]
    for (const call of calls) {
      await call().catch((error) => { codes.add(error.code); show(error) })
      for (const value of [cache, cache.status(), cache.fetch]) show(value)
    }
    await client.reloadFeatureFlags()
    return [...codes]
  }

  async function run() {
    await client.waitForLocalEvaluationReady(10_000)
    console.log('ready')
    await new Promise((resolve) => process.stdin.once('data', resolve))
    // The second timeout in a row gives the connection up, and what comes then is of another kind.
    const codes = [...await tryAll(), ...await tryAll()]
    await client.shutdown()
    show(cache)
    console.log(texts.join('\\n'))
    console.log('codes ' + codes.join(' '))
    process.exit()
  }
  run()
`

describe('nothing that is thrown, reported, logged or shown contains the password or the secret key', { concurrency: 4 }, () => {
  for (const [trouble, arrange] of Object.entries(TROUBLES)) {
    for (const [way, configure] of Object.entries(WAYS)) {
      test(`when ${trouble}, given ${way}`, async (t) => {
        const api = await standIn(t, { secretKey: SECRET_KEY })
        const { port, strike = () => {}, code } = await arrange(t)
        const { options, env } = configure(port)
        const CONFIG = JSON.stringify({ options, host: api.url, projectKey: api.projectKey, secretKey: SECRET_KEY })
        const { child, ended } = startNode(SOURCE, { env: { ...env, CONFIG }, timeoutMs: 60_000, stdin: 'pipe' })
        await new Promise((resolve) => child.stdout.on('data', (text) => text.includes('ready\n') && resolve()))
        await strike()
        child.stdin.write('go\n')
        const { code: status, stdout, stderr } = await ended
        assert.equal(status, 0, stderr)
        assert.match(stdout, new RegExp(`^codes .*ERR_FLAG_CACHE_${code}`, 'm'))
        const told = stdout + stderr
        for (const form of FORMS)
          assert.ok(!told.includes(form), `${form} in: ${told.slice(Math.max(0, told.indexOf(form) - 300), told.indexOf(form) + 100)}`)
      })
    }
  }
})
