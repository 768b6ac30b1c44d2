// The relay in Next.js, as docs/relay.md shows it: a route with the handler, and a rewrite to a relay elsewhere. Installs Next.js from npm.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'

import { readPage, read, ROOT } from '../../dev/markdown.mjs'
import { freePort } from '../../dev/harness/redis.mjs'
import { npmPackages } from '../../scripts/npm-packages.mjs'
import { start } from '../support/child.mjs'
import { standIn } from '../support/client.mjs'
import { ask, exchange, startRelay, until } from '../support/relay.mjs'

const snippets = readPage(read('docs/relay.md')).snippets.filter(({ language }) => language === 'typescript')
const snippetWith = (text) => snippets.find((snippet) => snippet.text.includes(text)).text

/** JavaScript: types would have to be installed, too. */
const withoutTypes = (text) => text.replace(', type Relay', '').replace(': Relay | undefined', '').replace(': Request', '')

/** An application below the folder with Next.js, which finds that as any package. */
function makeApp(t, folder, files) {
  const app = mkdtempSync(join(folder, 'app-'))
  t.after(() => rmSync(app, { recursive: true, force: true, maxRetries: 20 }))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(app, name)), { recursive: true })
    writeFileSync(join(app, name), text)
  }
  const own = join(app, 'node_modules/posthog-flag-cache')
  const names = [
    'package.json',
    'index.js',
    'relay.js',
    'unsupported.js',
    'native.js',
    'lib',
    ...readdirSync(ROOT).filter((name) => name.endsWith('.node')),
  ]
  for (const name of names) cpSync(join(ROOT, name), join(own, name), { recursive: true })
  return app
}

test('a route and a rewrite serve definitions, and pass everything else on', { timeout: 180_000 }, async (t) => {
  const folder = npmPackages('nextjs')
  const api = await standIn(t)
  const passedOn = []
  api.on('other', (request) => passedOn.push(request))
  const elsewhere = await startRelay(t, { api })
  const app = makeApp(t, folder, {
    'package.json': '{ "private": true }',
    'next.config.mjs': snippetWith('rewrites:')
      .replace('export default {', "export default {\n  serverExternalPackages: ['posthog-flag-cache'],")
      .replace("source: '/relay/", "source: '/rewritten/")
      .replace('http://relay:8787', elsewhere.url),
    'app/layout.js': 'export default ({ children }) => <html><body>{children}</body></html>',
    'app/page.js': 'export default () => <p>ready</p>',
    'app/relay/[...path]/route.js': withoutTypes(snippetWith('createRelay')).replace(
      "'https://eu.i.posthog.com'",
      'process.env.POSTHOG_HOST',
    ),
  })
  const next = join(folder, 'node_modules/next/dist/bin/next')
  const env = { NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' }
  const built = spawnSync(process.execPath, [next, 'build', '--webpack'], { cwd: app, encoding: 'utf8', env: { ...process.env, ...env } })
  assert.equal(built.status, 0, built.stdout + built.stderr)
  const port = await freePort()
  const { child } = start(process.execPath, [next, 'start', app, '--port', String(port), '--hostname', '127.0.0.1'], {
    env: {
      ...env,
      POSTHOG_PROJECT_KEY: api.projectKey,
      POSTHOG_SECRET_KEY: api.secretKey,
      POSTHOG_HOST: api.url,
      POSTHOG_FLAG_CACHE_URL: 'memory:',
    },
    timeoutMs: 120_000,
  })
  t.after(() => child.kill('SIGKILL'))
  const url = `http://127.0.0.1:${port}`
  await until(() =>
    exchange(url).then(
      ({ status }) => status === 200,
      () => false,
    ),
  )

  for (const base of [`${url}/relay`, `${url}/rewritten`]) {
    const asked = ask(base, api)
    const response = await fetch(asked.url, asked)
    assert.deepEqual([response.status, await response.text()], [200, api.text], base)
    const known = await fetch(asked.url, { headers: { ...asked.headers, 'if-none-match': response.headers.get('etag') } })
    assert.equal(known.status, 304, base)
    assert.equal((await fetch(`${base}/healthz`)).status, 200, base)
    passedOn.length = 0
    await fetch(`${base}/batch/?compression=gzip-js`, { method: 'POST', body: 'größe', headers: { 'x-own': '1' } })
    const [{ method, url: target, headers, body }] = passedOn
    assert.deepEqual(
      [method, target.replace('/?', '?'), body.toString(), headers['x-own']],
      ['POST', '/batch?compression=gzip-js', 'größe', '1'],
    )
    assert.match(headers['x-forwarded-for'], /127\.0\.0\.1/)
  }
})
