// Where the definitions are kept when no option says it: environment variables, and the default directory.

import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'

import { runNode } from '../support/child.mjs'
import { newProjectKey, STORES, temporaryDirectory } from '../support/stores.mjs'

const UID = process.geteuid?.()
const unix = { skip: UID === undefined && 'there are no user ids here' }

/** Publishes in a process of its own; prints the error's code and message, if any. */
function publishWith(env, { projectKey = newProjectKey(), options = '{}' } = {}) {
  const source = `
    const { FlagDefinitionCache } = require('posthog-flag-cache')
    const cache = new FlagDefinitionCache({ projectKey: ${JSON.stringify(projectKey)}, ...${options} })
    const text = (error) => error.code + ': ' + error.message
    cache.shouldFetchFlagDefinitions()
      .then(() => cache.onFlagDefinitionsReceived({ flags: [{ key: 'here' }] }))
      .then(() => console.log('published'), (error) => console.log(text(error)))
  `
  return runNode(source, { env }).then(({ code, stdout, stderr }) => {
    assert.equal(code, 0, stderr)
    return stdout.trim()
  })
}

const definitionsIn = (directory, projectKey) => {
  const project = join(directory, 'posthog%3Aflags', projectKey)
  const { snapshot } = JSON.parse(readFileSync(join(project, 'state.json'), 'utf8'))
  return readFileSync(join(project, `${snapshot.version}.json`), 'utf8')
}

const PUBLISHED = '{"flags":[{"key":"here"}]}'

test('without an option POSTHOG_FLAG_CACHE_URL counts, even if REDIS_URL is set', async (t) => {
  const [directory, projectKey] = [temporaryDirectory(t), newProjectKey()]
  const env = { POSTHOG_FLAG_CACHE_URL: pathToFileURL(directory).href, REDIS_URL: 'redis://127.0.0.1:1' }
  assert.equal(await publishWith(env, { projectKey }), 'published')
  assert.equal(definitionsIn(directory, projectKey), PUBLISHED)
})

test('without this variable REDIS_URL counts', async (t) => {
  const store = await STORES.redis()
  t.after(() => store.close())
  const projectKey = newProjectKey()
  assert.equal(await publishWith({ POSTHOG_FLAG_CACHE_URL: '', REDIS_URL: store.url }, { projectKey }), 'published')
  assert.equal(String(await store.stored(projectKey)), PUBLISHED)
})

test('the option overrides both, and undefined counts as not set', async (t) => {
  const [directory, projectKey] = [temporaryDirectory(t), newProjectKey()]
  const url = pathToFileURL(directory).href
  const env = { POSTHOG_FLAG_CACHE_URL: 'redis://127.0.0.1:1', REDIS_URL: 'redis://127.0.0.1:1' }
  assert.equal(await publishWith(env, { projectKey, options: JSON.stringify({ url }) }), 'published')
  assert.equal(definitionsIn(directory, projectKey), PUBLISHED)
  const answer = await publishWith(env, { projectKey, options: '{ url: undefined }' })
  assert.match(answer, /^ERR_FLAG_CACHE_UNAVAILABLE: redis:\/\/127\.0\.0\.1:1\/0 /)
})

test('an environment variable that names no store is an option error, without its password in the message', async () => {
  const { code, stderr } = await runNode(
    "const { FlagDefinitionCache } = require('posthog-flag-cache'); new FlagDefinitionCache({ projectKey: 'phc_x' })",
    { env: { REDIS_URL: 'http://somebody:s3cret@host' } },
  )
  assert.equal(code, 1)
  assert.match(stderr, /ERR_FLAG_CACHE_OPTIONS/)
  assert.match(stderr, /option 'url' has an unknown scheme/)
  assert.doesNotMatch(stderr, /s3cret/)
})

test('otherwise a directory is used that is private to this user', unix, async (t) => {
  const [TMPDIR, projectKey] = [temporaryDirectory(t), newProjectKey()]
  assert.equal(await publishWith({ TMPDIR }, { projectKey }), 'published')
  const directory = join(TMPDIR, `posthog-flag-cache-${UID}`)
  assert.equal(statSync(directory).mode & 0o777, 0o700)
  assert.equal(statSync(directory).uid, UID)
  assert.equal(definitionsIn(directory, projectKey), PUBLISHED)
})

test('the default directory is made private again if it was opened to others', unix, async (t) => {
  const TMPDIR = temporaryDirectory(t)
  const directory = join(TMPDIR, `posthog-flag-cache-${UID}`)
  mkdirSync(directory)
  chmodSync(directory, 0o777)
  assert.equal(await publishWith({ TMPDIR }), 'published')
  assert.equal(statSync(directory).mode & 0o777, 0o700)
})

test('the default directory is rejected if another user put a link in its place', unix, async (t) => {
  const [TMPDIR, elsewhere] = [temporaryDirectory(t), temporaryDirectory(t)]
  symlinkSync(elsewhere, join(TMPDIR, `posthog-flag-cache-${UID}`))
  assert.match(
    await publishWith({ TMPDIR }),
    /^ERR_FLAG_CACHE_AUTH: .* belongs to another user\. Use another directory, with option 'url'\.$/,
  )
  assert.ok(!existsSync(join(elsewhere, 'posthog%3Aflags')))
})
