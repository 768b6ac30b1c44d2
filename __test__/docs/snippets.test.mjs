// Every snippet in the docs is compiled or executed, each as its language allows. A language that is not known here fails.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join } from 'node:path'
import { after, before, describe, test } from 'node:test'

import { load } from 'js-yaml'

import { pages, read, readPage, ROOT } from '../../dev/markdown.mjs'
import { startPostHogApi } from '../../dev/harness/posthog-api.mjs'
import { startRedis } from '../../dev/harness/redis.mjs'
import { startSharing } from '../support/shared.mjs'
import { startRelay } from '../support/relay.mjs'
import { temporaryDirectory } from '../support/stores.mjs'
import { compile, isWhole, LANGUAGES } from './support/typescript.mjs'

const require = createRequire(import.meta.url)
const { parse } = require('../../lib/cli/args.js')
const { CLASS_OPTIONS } = require('../../lib/cli/options.js')
const relay = require('../../lib/cli/relay.js')

/** The project key of the docs. */
const PROJECT_KEY = 'phc_…'
const PACKAGE = JSON.parse(read('package.json'))
const RUN_LIMIT_MS = 20_000

const snippets = pages().flatMap((page) => readPage(read(page)).snippets.map((snippet) => ({ page, ...snippet })))
const place = ({ page, line }) => `${page}:${line}`
const isForNpm = (command) => command.startsWith('npm ')
/** Files of an application, which `__test__/nextjs/docs.test.mjs` builds. */
const isOfNextjs = ({ page, text }) => page === 'docs/nextjs.md' && /'(\.{1,2}\/|next\/|@posthog\/next|flags\/)/.test(text)
const of = (...languages) => snippets.filter(({ language }) => languages.includes(language))

let redis
before(async () => (redis = await startRedis()))
after(() => redis.stop())

test('every language is one of those below', () => {
  const known = [...LANGUAGES, 'bash', 'text', 'json', 'yaml', 'dockerfile', 'dotenv', 'mermaid']
  assert.deepEqual(snippets.filter(({ language }) => !known.includes(language)).map(place), [])
})

describe('JavaScript and TypeScript', () => {
  const compiled = compile(of(...LANGUAGES).filter((snippet) => !isOfNextjs(snippet)))
  assert.ok(compiled.length > 0)

  for (const { snippet, faults } of compiled) {
    test(`${place(snippet)} compiles`, () => assert.equal(faults.join('\n'), ''))
  }

  for (const { snippet, file } of compiled.filter((one) => isWhole(one.snippet) && !one.source.endsWith('.tsx'))) {
    test(`${place(snippet)} runs`, { timeout: RUN_LIMIT_MS }, async (t) => {
      const api = await standIn(t)
      const fetches = snippet.text.includes('secretKey')
      await redis.client().flushall()
      if (!fetches) await fill(t, api)
      // What the snippet calls its client is ready, and leaves.
      const end = `
        (async () => {
          if (typeof posthog !== 'undefined' && !(await posthog.waitForLocalEvaluationReady(10_000))) throw new Error('no definitions')
          if (typeof posthog !== 'undefined') await posthog.shutdown()
          process.exit(0)
        })()`
      appendFileSync(file, `;${end}\n`)
      const env = { STAND_IN: api.url, REDIS_URL: redis.url, POSTHOG_SECRET_KEY: api.secretKey, POSTHOG_PROJECT_KEY: PROJECT_KEY }
      const preload = new URL('support/preload.mjs', import.meta.url).href
      const { code, output } = await run(t, process.execPath, ['--import', preload, file], { cwd: temporaryDirectory(t), env })
      assert.equal(code, 0, output)
      if (/\bposthog = new PostHog/.test(snippet.text) && fetches) {
        const published = (await redis.client().keys('posthog:flags:*')).length > 0
        assert.equal(published, /flagDefinitionCacheProvider|clientOptions/.test(snippet.text))
        assert.deepEqual(
          api.calls.map(({ status }) => status),
          [200],
        )
      }
    })
  }
})

describe('bash', () => {
  for (const snippet of of('bash')) {
    const commands = snippet.text
      .split('\n')
      .map((line) => line.replace(/(^| )#.*/, '').trim())
      .filter(Boolean)
    if (commands.every(isForNpm)) {
      test(`${place(snippet)} names what npm can run`, () => commands.forEach(assertNpmCommand))
      continue
    }
    const output = snippets.find((other) => other.before?.line === snippet.line && other.page === snippet.page && other.language === 'text')
    for (const compression of ['none', 'zstd']) {
      test(`${place(snippet)} works with compression: '${compression}'`, { timeout: RUN_LIMIT_MS }, async (t) => {
        assert.ok(!commands.some(isForNpm), 'npm commands have a snippet of their own')
        if (commands.some((command) => /\bzstd\b/.test(command)) && spawnSync('zstd', ['--version']).error)
          return t.skip('there is no zstd')
        const api = await standIn(t)
        const { client } = redis
        await client().flushall()
        await client().call('ACL', 'SETUSER', 'flags', 'reset', 'on', '>old', '~*', '&*', '+@all')
        await fill(t, api, { compression })
        const cwd = temporaryDirectory(t)
        const PATH = `${ownCommand(t)}${delimiter}${process.env.PATH}`
        const project = { POSTHOG_PROJECT_KEY: PROJECT_KEY, POSTHOG_SECRET_KEY: api.secretKey, POSTHOG_HOST: api.url }
        const env = { PATH, ...project, REDIS_URL: redis.url, NEW_PASSWORD: 'new', OLD_PASSWORD: 'old' }
        const { code, output: printed } = await run(t, 'bash', ['-euo', 'pipefail', '-c', snippet.text], { cwd, env })
        assert.equal(code, 0, printed)
        assert.doesNotMatch(printed, /^(ERR|WRONGTYPE|NOPERM|\(error\))/m)
        if (output) assertPrints(printed, output.text)
      })
    }
  }
})

describe('text', () => {
  for (const snippet of of('text')) {
    const { text } = snippet
    if (snippet.before?.language === 'bash') {
      test(`${place(snippet)} is what commands print that are executed`, () => assert.ok(!isForNpm(snippet.before.text)))
      continue
    }
    if (text.startsWith('ACL ')) {
      test(`${place(snippet)} is understood by Redis`, async () => {
        for (const line of text.trim().split('\n')) assert.equal(await redis.client().call(...line.split(' ')), 'OK')
      })
    } else if (text.startsWith('posthog:flags:')) {
      test(`${place(snippet)} lists the keys and the channel that there are`, async (t) => {
        await redis.client().flushall()
        await fill(t, await standIn(t))
        const keys = await redis.client().keys('posthog:flags:*')
        const channels = await redis.client().pubsub('CHANNELS', `posthog:flags:{${PROJECT_KEY}}*`)
        assert.deepEqual(
          text
            .trim()
            .split('\n')
            .map((line) => line.split(/ {2,}/)[0])
            .sort(),
          [...keys, ...channels].sort(),
        )
      })
    } else if (text.startsWith('state ')) {
      test(`${place(snippet)} has the fields of the rule's state`, () => {
        const named = text
          .split('snapshot = ')[0]
          .match(/\b[a-z]+(_[a-z]+)*\b/g)
          .filter((word) => word !== 'state')
        const structs = [...read('src/state.rs').matchAll(/pub struct (?:State|Lease|SnapshotInfo) \{(.*?)\n\}/gs)]
        const fields = structs.flatMap(([, body]) => [...body.matchAll(/pub (\w+):/g)].map(([, name]) => name))
        assert.deepEqual(named.sort(), fields.sort())
      })
    } else {
      test(`${place(snippet)} is a drawing`, () => assert.match(text, /[─│┌]/))
    }
  }
})

describe('other languages', () => {
  for (const snippet of of('json')) test(`${place(snippet)} is JSON`, () => JSON.parse(snippet.text))

  for (const snippet of of('dockerfile')) {
    if (snippet.page === 'docs/relay.md') continue
    test(`${place(snippet)} copies what the tests of Next.js copy`, () => {
      const copied = [...snippet.text.matchAll(/^COPY --from=build \/app\/(\S+) \S+$/gm)].map(([, path]) => path)
      assert.equal(copied.length, snippet.text.trim().split('\n').length)
      for (const path of copied) assert.ok(read('__test__/nextjs/nextjs.test.mjs').includes(`'${path}'`), path)
    })
  }

  for (const snippet of of('dotenv')) {
    test(`${place(snippet)} sets variables that a snippet of the page reads`, () => {
      const code = of(...LANGUAGES).filter(({ page }) => page === snippet.page)
      for (const line of snippet.text.trim().split('\n')) {
        const [, name] = line.match(/^([A-Z_]+)=\S+$/) ?? assert.fail(line)
        assert.ok(
          code.some(({ text }) => text.includes(name)),
          name,
        )
      }
    })
  }

  for (const snippet of of('yaml')) test(`${place(snippet)} is YAML`, () => assert.equal(typeof load(snippet.text), 'object'))

  for (const snippet of of('yaml', 'dockerfile').filter(({ page }) => page === 'docs/relay.md')) {
    const lists = [...snippet.text.matchAll(/\[('|").*\]/g)].map(([list]) => load(list))
    test(`${place(snippet)} starts what there is`, async () => {
      for (const args of lists.filter(([first]) => /^(--|posthog-flag-cache)/.test(first))) {
        const given = args.filter((arg) => !['posthog-flag-cache', 'relay'].includes(arg))
        parse(given, { ...relay.options, ...CLASS_OPTIONS })
      }
    })
    for (const probe of lists.filter((list) => list.includes('-e'))) {
      test(`${place(snippet)}: its probe tells a relay that is ready from one that is not`, async (t) => {
        const api = await standIn(t)
        const { port, close } = await startRelay(t, { api })
        await fetch(`http://127.0.0.1:${port}/flags/definitions?token=${PROJECT_KEY}`, {
          headers: { authorization: `Bearer ${api.secretKey}` },
        })
        const script = probe.at(-1).replace('8787', String(port))
        const outcome = async () => (await run(t, process.execPath, ['-e', script], { cwd: temporaryDirectory(t), env: {} })).code
        assert.equal(await outcome(), 0)
        await close()
        assert.equal(await outcome(), 1)
      })
    }
  }

  for (const snippet of of('mermaid')) {
    test(`${place(snippet)} names files that there are`, () => {
      const names = snippet.text.match(/\b[a-z][\w/]*\.(rs|js)\b|\b[a-z]+\/(?=[\],])/g)
      assert.ok(names.length > 0)
      for (const name of names)
        assert.ok(
          ['', 'src/'].some((folder) => existsSync(join(ROOT, folder, name))),
          name,
        )
    })
  }
})

async function standIn(t) {
  const api = await startPostHogApi({ projectKey: PROJECT_KEY })
  t.after(() => api.close())
  return api
}

/** Has a posthog-node client fill the store, which then goes on running. */
async function fill(t, api, options) {
  const { ready } = startSharing(t, { api, url: redis.url, ...options })
  assert.ok(await ready())
}

async function run(t, command, args, { cwd, env }) {
  const { POSTHOG_FLAG_CACHE_URL, ...inherited } = process.env
  const child = spawn(command, args, { cwd, env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const [code, signal] = await once(child, 'close')
  return { code: code ?? signal, output }
}

/** A folder with an `npx` that runs the command of this package, as it is here, and nothing else. */
function ownCommand(t) {
  const folder = temporaryDirectory(t)
  const file = Object.values(PACKAGE.bin ?? {})[0]
  const lines = [
    '#!/bin/sh',
    `if [ "$1" != ${PACKAGE.name} ]; then echo "npx $1 is not of this package" >&2; exit 1; fi`,
    'shift',
    file ? `exec node '${join(ROOT, file)}' "$@"` : 'echo "this package has no command" >&2; exit 1',
  ]
  writeFileSync(join(folder, 'npx'), `${lines.join('\n')}\n`, { mode: 0o755 })
  return folder
}

/** `…` stands for anything. */
function assertPrints(printed, documented) {
  const pattern = documented
    .trim()
    .split('…')
    .map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('[^\\n]*')
  assert.match(printed.trim(), new RegExp(`^${pattern}$`))
}

function assertNpmCommand(command) {
  const [, verb, ...rest] = command.split(/\s+/)
  if (verb === 'run') return assert.ok(PACKAGE.scripts[rest[0]], `there is no script ${rest[0]}`)
  if (verb === 'test') return assert.deepEqual(rest, [])
  if (verb === 'install' || verb === 'uninstall') {
    const known = [PACKAGE.name, ...Object.keys(PACKAGE.devDependencies)]
    return assert.deepEqual(
      rest.filter((name) => !known.includes(name.replace(/(.)@.*/, '$1'))),
      [],
    )
  }
  assert.fail(`npm ${verb} is not known here`)
}
