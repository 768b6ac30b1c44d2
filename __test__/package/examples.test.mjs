// The short examples, as they are, with the published package and the frameworks they are for.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { json as body } from 'node:stream/consumers'
import { after, test } from 'node:test'

import { sleep } from '../../dev/harness/clock.mjs'
import { VERSION_FLAG } from '../../dev/harness/definitions.mjs'
import { startPostHogApi } from '../../dev/harness/posthog-api.mjs'
import { freePort, startRedis } from '../../dev/harness/redis.mjs'
import { npmPackages } from '../../scripts/npm-packages.mjs'
import { FlagDefinitionCache } from '../support/client.mjs'
import { until } from '../support/relay.mjs'
import { newProjectKey, temporaryDirectory } from '../support/stores.mjs'
import { json, newProject, npm, publish, ROOT } from './support/consumer.mjs'
import { run } from './support/run.mjs'

const FRAMEWORKS = ['express@5', '@nestjs/common@11', '@nestjs/core@11', 'reflect-metadata@0.2', 'rxjs@7']
const TIMEOUT_MS = 20_000

const { registry } = await publish({ after })
const redis = await startRedis()
after(() => redis.stop())
const project = newProject({ after }, registry)
cpSync(join(ROOT, 'examples'), project, { recursive: true, filter: (path) => !path.endsWith('nextjs') })
const posthogNode = `posthog-node@${json(ROOT, 'package.json').devDependencies['posthog-node']}`
await npm(project, 'install', 'posthog-flag-cache', posthogNode, ...FRAMEWORKS)

/** A stand-in for PostHog, and the environment in which an example finds it and the Redis. */
async function setting(t) {
  const api = await startPostHogApi({ projectKey: newProjectKey() })
  t.after(() => api.close())
  const { POSTHOG_FLAG_CACHE_URL, ...inherited } = process.env
  const env = {
    ...inherited,
    POSTHOG_PROJECT_KEY: api.projectKey,
    POSTHOG_SECRET_KEY: api.secretKey,
    POSTHOG_HOST: api.url,
    REDIS_URL: redis.url,
    PORT: String(await freePort()),
  }
  return { api, env, url: `http://127.0.0.1:${env.PORT}` }
}

/** Starts an example: `line()` gives the next line it writes, `ended` its exit code, or the signal that ended it. */
function start(t, name, env) {
  const child = spawn(process.execPath, [`${name}.mjs`], { cwd: project, env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close').then(([code, signal]) => code ?? signal)
  t.after(() => {
    child.kill('SIGKILL')
    return ended
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return { child, ended, line: async () => (await lines.next()).value }
}

/** Who has the turn to fetch. */
async function leader(api) {
  const cache = new FlagDefinitionCache({ projectKey: api.projectKey, url: redis.url, role: 'reader' })
  await cache.getFlagDefinitions()
  await cache.shutdown()
  return cache.status().leader
}

const statuses = (api) => api.calls.map(({ status }) => status)

test('Express evaluates, shows an edit that a webhook reported, and releases the lease at SIGTERM', { timeout: TIMEOUT_MS }, async (t) => {
  const { api, env, url } = await setting(t)
  const { child, line, ended } = start(t, 'express', { ...env, WEBHOOK_SECRET: 'told' })
  assert.equal(await line(), 'listening')
  const version = async () => (await (await fetch(`${url}/flags/ada`)).json())[VERSION_FLAG]
  const tell = (headers, method = 'POST') => fetch(`${url}/flags-changed`, { method, headers })
  const [, destination] = readFileSync(join(ROOT, 'docs/webhook.md'), 'utf8').match(/```json\n(.*?)```/s)
  const { method, headers } = JSON.parse(destination.replace('<your secret>', 'told')).inputs
  assert.equal(await version(), 'v1')
  api.edit()
  const refused = await tell({})
  assert.deepEqual([refused.status, refused.headers.get('www-authenticate')], [401, 'Bearer'])
  assert.equal((await tell(headers.value, 'GET')).status, 405)
  assert.equal((await tell(headers.value, method.value)).status, 204)
  assert.equal(await version(), 'v2')
  assert.equal((await (await fetch(`${url}/health`)).json()).isLeader, true)
  assert.deepEqual(statuses(api), [200, 200])
  api.always(500)
  const failed = await tell(headers.value)
  assert.deepEqual([failed.status, failed.headers.get('retry-after')], [503, '5'])
  child.kill('SIGTERM')
  assert.equal(await ended, 0)
  assert.equal(await leader(api), null)
})

test("NestJS's shutdown hooks release the lease", { timeout: TIMEOUT_MS }, async (t) => {
  const { api, env } = await setting(t)
  const { child, line, ended } = start(t, 'nestjs', env)
  assert.equal(JSON.parse(await line())[VERSION_FLAG], 'v1')
  assert.match(await leader(api), new RegExp(`:${child.pid}:`))
  child.kill('SIGTERM')
  // Nest sends itself the signal again when its hooks are done.
  assert.equal(await ended, 'SIGTERM')
  assert.equal(await leader(api), null)
})

test('a cluster shares one fetch through a directory, and one that died does not fetch again', { timeout: TIMEOUT_MS }, async (t) => {
  const { api, env, url } = await setting(t)
  const { child, line, ended } = start(t, 'cluster', { ...env, REDIS_URL: '', TMPDIR: temporaryDirectory(t), WORKERS: '3' })
  for (let n = 0; n < 3; n += 1) assert.equal(await line(), 'listening')
  const ask = async () => {
    // A connection each: the primary deals them out in turn.
    const [response] = await once(get(url, { agent: new Agent() }), 'response')
    return body(response)
  }
  const answers = [await ask(), await ask(), await ask()]
  assert.equal(new Set(answers.map(({ pid }) => pid)).size, 3)
  for (const { flags } of answers) assert.equal(flags[VERSION_FLAG], 'v1')
  process.kill(answers[0].pid, 'SIGKILL')
  assert.equal(await line(), 'listening')
  assert.deepEqual(statuses(api), [200])
  child.kill('SIGTERM')
  assert.equal(await ended, 0)
})

test('PM2 reloads the cluster, and need not kill a process', { timeout: 60_000 }, async (t) => {
  const { api, env, url } = await setting(t)
  const home = mkdtempSync(join(tmpdir(), 'flag-cache-pm2-'))
  const own = { ...env, REDIS_URL: '', PM2_HOME: home, PM2_DISABLE_VERSION_CHECK: 'true', TMPDIR: temporaryDirectory(t) }
  const pm2 = (...args) =>
    run(process.execPath, [join(npmPackages('pm2'), 'node_modules/pm2/bin/pm2'), ...args], { cwd: project, env: own })
  t.after(async () => {
    await pm2('kill')
    rmSync(home, { recursive: true, force: true })
  })
  const ask = async () => (await fetch(url)).json()
  await pm2('start', 'cluster.mjs', '--instances', '2')
  const before = await until(() => ask().catch(() => undefined))
  await pm2('reload', 'cluster')
  const later = await ask()
  assert.notEqual(later.pid, before.pid)
  assert.equal(later.flags[VERSION_FLAG], 'v1')
  assert.deepEqual(statuses(api), [200])
  const log = readFileSync(join(home, 'pm2.log'), 'utf8')
  assert.equal(log.match(/exited with code \[0\]/g)?.length, 2, log)
  assert.doesNotMatch(log, /still alive|SIGKILL/)
})

test('a cron job fetches once per run, and readers without the key follow', { timeout: TIMEOUT_MS }, async (t) => {
  const { api, env } = await setting(t)
  const write = async () => assert.equal(await start(t, 'cron-writer', env).ended, 0)
  await write()
  const { POSTHOG_SECRET_KEY, ...readerEnv } = env
  const readers = [1, 2].map(() => start(t, 'cron-reader', readerEnv))
  const versions = () => Promise.all(readers.map(async ({ line }) => JSON.parse(await line())[VERSION_FLAG]))
  assert.deepEqual(await versions(), ['v1', 'v1'])
  api.edit()
  // Two runs within a second count as one.
  await sleep(1_000)
  await write()
  assert.deepEqual(await versions(), ['v2', 'v2'])
  await sleep(1_000)
  await write()
  assert.deepEqual(statuses(api), [200, 200, 304])
  assert.equal(api.remoteEvaluations, 0)
  for (const { child } of readers) child.kill('SIGTERM')
  assert.deepEqual(await Promise.all(readers.map(({ ended }) => ended)), [0, 0])
})
