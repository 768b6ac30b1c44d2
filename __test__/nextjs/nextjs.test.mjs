// examples/nextjs as somebody would deploy it: the published package, a standalone build, two servers, one Redis, and a browser.
// With UPDATE_SCREENSHOT=1 it also renews docs/nextjs.png.

import assert from 'node:assert/strict'
import { cpSync, existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join } from 'node:path'
import { after, describe, test } from 'node:test'

import { VERSION_FLAG } from '../../dev/harness/definitions.mjs'
import { startPostHogApi } from '../../dev/harness/posthog-api.mjs'
import { startRedis } from '../../dev/harness/redis.mjs'
import { HOST, newProject, npm, publish, ROOT, tools } from '../package/support/consumer.mjs'
import { run } from '../package/support/run.mjs'
import { FlagDefinitionCache } from '../support/client.mjs'
import { newProjectKey, temporaryDirectory } from '../support/stores.mjs'
import { serve } from './support/server.mjs'

const INTERVAL_MS = 1_000
/** A poll may come a tenth of an interval early (docs/design.md). */
const SHORTEST_MS = INTERVAL_MS * 0.9
const BUNDLERS = { Turbopack: [], webpack: ['--webpack'] }

const { chromium } = createRequire(join(await tools(), 'x.js'))('playwright-core')
const { registry } = await publish({ after })
const redis = await startRedis()
after(() => redis.stop())
const browser = await chromium.launch({ executablePath: installedBrowser(), args: ['--no-sandbox'] })
after(() => browser.close())
const app = newProject({ after }, registry)
cpSync(join(ROOT, 'examples/nextjs'), app, { recursive: true, filter: (path) => !/node_modules|\.next$/.test(path) })
await npm(app, 'install')

function installedBrowser() {
  const folders = process.env.PATH.split(delimiter)
  const files = ['chromium', 'google-chrome'].flatMap((name) => folders.map((folder) => join(folder, name)))
  return files.find((file) => existsSync(file))
}

/** Every connection that Redis has ever had, the one that asks included. */
const connections = async () => Number(/total_connections_received:(\d+)/.exec(await redis.client().info('stats'))[1])

/** Builds, while PostHog and Redis could be reached, and copies what a container image would get. The folder of the copy. */
async function build(t, args, api) {
  const output = temporaryDirectory(t)
  const earlier = await connections()
  await run(process.execPath, [join(app, 'node_modules/next/dist/bin/next'), 'build', ...args], {
    cwd: app,
    env: { NEXT_TELEMETRY_DISABLED: '1', ...environmentOf(api) },
    timeoutMs: 480_000,
  })
  assert.deepEqual([(await connections()) - 1, api.calls.length, api.remoteEvaluations], [earlier, 0, 0], 'the build connects to nothing')
  // Links are copied as they are, and folders that begin with a dot too: Turbopack needs both.
  cpSync(join(app, '.next/standalone'), output, { recursive: true, verbatimSymlinks: true })
  cpSync(join(app, '.next/static'), join(output, '.next/static'), { recursive: true })
  return output
}

/** Where the page says something about the fleet. */
const fact = (name) => `[data-fact="${name}"]`

/** A window on that address, wide enough for the screenshot. */
async function open(t, url) {
  const page = await browser.newPage({ viewport: { width: 1000, height: 560 } })
  t.after(() => page.close())
  const complaints = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  await page.goto(url)
  return {
    page,
    complaints,
    /** Resolves when the page shows that value of the flag, without being loaded anew. */
    shows: (flag, value) => page.locator(`[data-flag="${flag}"] b`, { hasText: value }).waitFor(),
  }
}

const environmentOf = (api) => ({
  POSTHOG_PROJECT_KEY: api.projectKey,
  POSTHOG_SECRET_KEY: api.secretKey,
  POSTHOG_HOST: api.url,
  POSTHOG_POLLING_INTERVAL_MS: String(INTERVAL_MS),
  REDIS_URL: redis.url,
})

for (const [bundler, args] of Object.entries(BUNDLERS)) {
  describe(`the example, built with ${bundler}`, () => {
    test('runs as two servers that share one fetch per interval and show an edit at once', async (t) => {
      const api = await startPostHogApi({ projectKey: newProjectKey() })
      t.after(() => api.close())
      const folder = await build(t, args, api)
      const servers = await Promise.all([1, 2].map(() => serve(t, folder, environmentOf(api))))
      const windows = await Promise.all(servers.map(({ url }) => open(t, url)))
      await Promise.all(windows.map(({ shows }) => shows(VERSION_FLAG, 'v1')))
      const workers = await Promise.all(windows.map(({ page }) => page.locator(fact('worker')).innerText()))
      assert.equal(new Set(workers).size, 2)
      await Promise.all(windows.map(({ page }) => page.locator(fact('leader'), { hasText: new RegExp(workers.join('|')) }).waitFor()))

      api.edit()
      await Promise.all(windows.map(({ shows }) => shows(VERSION_FLAG, 'v2')))
      const { length } = api.calls
      while (api.calls.length < length + 6) await api.nextCall()
      const tookMs = api.calls.at(-1).at - api.calls[0].at
      assert.ok(api.calls.length <= Math.ceil(tookMs / SHORTEST_MS) + 1, `${api.calls.length} fetches in ${tookMs} ms`)
      // Two answers with definitions for two versions: everything else was "unchanged".
      assert.equal(api.count(200), 2)
      assert.equal(api.count(304), api.calls.length - 2)
      assert.deepEqual(
        windows.flatMap(({ complaints }) => complaints),
        [],
      )
      assert.equal(api.remoteEvaluations, 0)
      if (process.env.UPDATE_SCREENSHOT && bundler === 'Turbopack') {
        await windows[0].page.screenshot({ path: join(ROOT, 'docs/nextjs.png') })
      }
    })

    test('releases the lease when a server is told to stop', async (t) => {
      const api = await startPostHogApi({ projectKey: newProjectKey() })
      t.after(() => api.close())
      const server = await serve(t, join(app, '.next/standalone'), environmentOf(api))
      await api.nextCall()
      const leader = async () => {
        const cache = new FlagDefinitionCache({ projectKey: api.projectKey, url: redis.url, role: 'reader' })
        await cache.getFlagDefinitions()
        await cache.shutdown()
        return cache.status().leader
      }
      assert.match(await leader(), new RegExp(`:${server.pid}:`))
      await server.stop()
      assert.equal(await leader(), null)
    })

    test('carries the addon of this platform in the standalone output, and no other', () => {
      const output = join(app, '.next/standalone')
      const links = readdirSync(output, { recursive: true, withFileTypes: true }).filter((entry) => entry.isSymbolicLink())
      for (const { parentPath, name } of links) assert.ok(realpathSync(join(parentPath, name)).startsWith(realpathSync(output)), name)
      const modules = join(output, 'node_modules')
      const ours = readdirSync(modules).filter((name) => name.startsWith('posthog-flag-cache'))
      assert.deepEqual(ours, ['posthog-flag-cache', `posthog-flag-cache-${HOST}`])
      assert.ok(existsSync(join(modules, ours[1], `posthog-flag-cache.${HOST}.node`)))
    })
  })
}

describe('the example', () => {
  test('without a secret key asks PostHog for each evaluation, and for no definitions', async (t) => {
    const api = await startPostHogApi({ projectKey: newProjectKey() })
    t.after(() => api.close())
    const { url } = await serve(t, join(app, '.next/standalone'), { ...environmentOf(api), POSTHOG_SECRET_KEY: '' })
    assert.match(await (await fetch(url)).text(), /Evaluated by PostHog/)
    assert.ok(api.remoteEvaluations > 0)
    assert.deepEqual(api.calls, [])
  })

  test('without a project key makes no request', async (t) => {
    const api = await startPostHogApi({ projectKey: newProjectKey() })
    t.after(() => api.close())
    const { url } = await serve(t, join(app, '.next/standalone'), { ...environmentOf(api), POSTHOG_PROJECT_KEY: '' })
    assert.match(await (await fetch(url)).text(), /Off: set POSTHOG_PROJECT_KEY/)
    assert.deepEqual([api.remoteEvaluations, api.calls], [0, []])
  })

  test('documents every variable that it reads', () => {
    const read = (name) => readFileSync(join(ROOT, 'examples/nextjs', name), 'utf8')
    const documented = read('.env.local.example').match(/^\w+(?==)/gm)
    const used = [...read('lib/posthog.ts').matchAll(/\b(POSTHOG_[A-Z_]+|REDIS_URL)\b/g)].map(([name]) => name)
    assert.deepEqual([...new Set(used)].sort(), documented.sort())
  })
})
