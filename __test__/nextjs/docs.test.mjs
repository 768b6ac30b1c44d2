// docs/nextjs.md, step by step, in an application that create-next-app has made with its defaults.

import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'

import { readPage, read } from '../../dev/markdown.mjs'
import { VERSION_FLAG } from '../../dev/harness/definitions.mjs'
import { startPostHogApi } from '../../dev/harness/posthog-api.mjs'
import { startRedis } from '../../dev/harness/redis.mjs'
import { npmPackages } from '../../scripts/npm-packages.mjs'
import { json, newProject, npm, publish, ROOT } from '../package/support/consumer.mjs'
import { run } from '../package/support/run.mjs'
import { startClient } from '../support/client.mjs'
import { until } from '../support/relay.mjs'
import { newProjectKey } from '../support/stores.mjs'
import { serve } from './support/server.mjs'

const PACKAGES = ['posthog-flag-cache', `posthog-node@${json(ROOT, 'package.json').devDependencies['posthog-node']}`]
const OTHERS = ['@posthog/next@0.8.4', 'flags@4.3.1']

const { snippets } = readPage(read('docs/nextjs.md'))
const { text: variables } = snippets.find(({ language }) => language === 'dotenv')
const [configLine] = snippets.find(({ text }) => text.startsWith('const nextConfig')).text.match(/^ {2}serverExternalPackages: .*$/m)
/** The text of each file that the page shows, by its path. */
const files = Object.fromEntries(
  snippets.flatMap(({ text }) => {
    const [, path] = /^\/\/ (\S+\.tsx?)\n/.exec(text) ?? []
    return path ? [[path, text]] : []
  }),
)
const BUNDLERS = { Turbopack: [], webpack: ['--webpack'] }
const PAGE = 'app/flags/page.tsx'

/** The flag of the page's examples. */
const NEW_PAGE = { id: 99, key: 'new-page', name: '', active: true, filters: { groups: [{ properties: [], rollout_percentage: 100 }] } }

/** Pages for what the docs show no page of. */
const OWN = {
  'app/new/page.tsx': 'export default function Page() {\n  return <p>the new page</p>\n}\n',
  'app/old/page.tsx': 'export default function Page() {\n  return <p>the old page</p>\n}\n',
  'app/posthog-next/page.tsx': files[PAGE]?.replace('lib/posthog', 'lib/posthog-next').replace('getPostHog()', '(await getPostHog())'),
  'app/flags-sdk/page.tsx': files[PAGE]
    ?.replace('{ getPostHog }', '{ newPage }')
    .replace('lib/posthog', 'lib/flags')
    .replace(/const flags = .*/, "const flags = { 'new-page': await newPage() }"),
}

const redis = await startRedis()
const api = await startPostHogApi({ projectKey: newProjectKey() })
api.edit(({ flags }) => flags.push(NEW_PAGE))
after(() => Promise.all([redis.stop(), api.close()]))
const { registry } = await publish({ after })
const app = join(newProject({ after }, registry), 'app')
// It calls the fonts of Google, which are not there without the internet.
const fonts = join(dirname(app), 'fonts.cjs')
const env = { NEXT_TELEMETRY_DISABLED: '1', NEXT_FONT_GOOGLE_MOCKED_RESPONSES: fonts }

const edit = (path, change) => writeFileSync(join(app, path), change(readFileSync(join(app, path), 'utf8')))
function write(path, text) {
  mkdirSync(dirname(join(app, path)), { recursive: true })
  writeFileSync(join(app, path), text)
}

const next = join(app, 'node_modules/next/dist/bin/next')
/** Resolves with what it prints, warnings included. */
const build = (...args) =>
  run('sh', ['-c', 'exec "$0" "$@" 2>&1', process.execPath, next, 'build', ...args], { cwd: app, env, timeoutMs: 480_000 })

/** Every connection that Redis has ever had, the one that asks included. */
const connections = async () => Number(/total_connections_received:(\d+)/.exec(await redis.client().info('stats'))[1])
const content = async (url) => (await (await fetch(url)).text()).replaceAll('<!-- -->', '')

before(async () => {
  const families = ['Geist', 'Geist+Mono'].map((name) => `https://fonts.googleapis.com/css2?family=${name}:wght@100..900&display=swap`)
  const css = '@font-face { font-family: Geist; src: local(Geist) }'
  writeFileSync(fonts, `module.exports = ${JSON.stringify(Object.fromEntries(families.map((url) => [url, css])))}`)

  const create = join(npmPackages('create-next-app'), 'node_modules/create-next-app/dist/index.js')
  // What somebody has answered before would be their defaults.
  const home = { HOME: dirname(app), XDG_CONFIG_HOME: dirname(app) }
  await run(process.execPath, [create, app, '--yes', '--skip-install', '--disable-git'], { cwd: dirname(app), env: home })
  writeFileSync(join(app, '.npmrc'), `registry=${registry.url}/\n`)
  await npm(app, 'install', ...PACKAGES, ...OTHERS)
  edit('next.config.ts', (text) => text.replace('= {\n', `= {\n${configLine}\n`))
  for (const [path, text] of Object.entries({ ...files, ...OWN })) write(path, text)
  const values = {
    POSTHOG_PROJECT_KEY: api.projectKey,
    POSTHOG_SECRET_KEY: api.secretKey,
    POSTHOG_HOST: api.url,
    REDIS_URL: redis.url,
  }
  write(
    '.env.local',
    variables.replace(/^(\w+)=.*$/gm, (_, name) => `${name}=${values[name]}`),
  )
})

/** Builds, and asserts that neither PostHog nor Redis noticed, and that nothing is wrong: what it prints. */
async function assertBuildsAlone(...args) {
  const earlier = [await connections(), api.calls.length]
  const printed = await build(...args)
  assert.deepEqual([(await connections()) - 1, api.calls.length], earlier)
  assert.doesNotMatch(printed, /warning/i)
  return printed
}

describe("create-next-app's application", () => {
  test('has Cache Components', () => assert.match(readFileSync(join(app, 'next.config.ts'), 'utf8'), /cacheComponents: true/))

  test('builds without a connection, and shows the flags and an edit', async (t) => {
    const printed = await assertBuildsAlone()
    assert.match(printed, /◐ \/flags/)
    const { url } = await serve(t, app, env, [next, 'start'])
    const version = api.version
    for (const page of ['/flags', '/posthog-next'])
      assert.ok((await content(`${url}${page}`)).includes(`${VERSION_FLAG}: ${version}`), page)
    assert.match(await content(`${url}/flags-sdk`), /new-page: true/)
    assert.match(await content(`${url}/old`), /the new page/)
    assert.equal(api.calls.length, 1)

    const later = api.edit()
    const other = startClient(t, { api, url: redis.url })
    await other.ready()
    while ((await other.evaluate()) !== later) await other.cache.invalidate().then(other.load)
    await until(async () => (await content(`${url}/flags`)).includes(`${VERSION_FLAG}: ${later}`))
    assert.match(await content(`${url}/flags-sdk`), /new-page: false/)
    assert.match(await content(`${url}/old`), /the old page/)
  })

  for (const [bundler, args] of Object.entries(BUNDLERS)) {
    test(`without Cache Components, and built with ${bundler}, builds without a connection, too`, async (t) => {
      edit('next.config.ts', (text) => text.replace(/^ *(cacheComponents|partialPrefetching): true,\n/gm, ''))
      // What nobody should do, so the docs do not. Cache Components refuse it.
      cpSync(new URL('edge-route.ts', import.meta.url), join(app, 'app/edge/route.ts'))
      assert.match(await assertBuildsAlone(...args), /ƒ \/flags/)
      const { url } = await serve(t, app, env, [next, 'start'])
      assert.match(await content(`${url}/flags`), new RegExp(`${VERSION_FLAG}: v\\d`))
      assert.match(await content(`${url}/edge`), /^FlagCacheError \[ERR_FLAG_CACHE_RUNTIME\]: /)
    })
  }
})
