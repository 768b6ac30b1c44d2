// The option `credentials`: a function of the user's that returns how to log in. (tests/it/credentials.rs has expiry, deployments
// and every kind of answer.)

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'

import { runNode } from '../support/child.mjs'
import { cli, environment } from '../support/cli.mjs'
import { failure, openCache } from '../support/client.mjs'
import { newProjectKey, redisFor, temporaryDirectory } from '../support/stores.mjs'

const PASSWORD = 'pässword of this hour'

const server = (t) => redisFor(t, { args: ['--requirepass', PASSWORD] })
const open = (t, { url }, credentials, options) => openCache(t, { projectKey: newProjectKey(), url, credentials, ...options })

/** The connections of this name. */
async function connections(redis, name) {
  const clients = await redis.client({ password: PASSWORD }).client('LIST')
  return clients.split('\n').filter((line) => line.includes(`name=${name} `)).length
}

describe('the function in `credentials`', () => {
  const ANSWERS = {
    'returns them': () => ({ password: PASSWORD }),
    'returns a promise of them': async () => ({ username: 'default', password: PASSWORD, expiresAt: Date.now() + 60_000 }),
    'returns an object of a class': () =>
      new (class extends Object {
        password = PASSWORD
      })(),
    'returns an object with getters of its class': () =>
      new (class {
        get password() {
          return PASSWORD
        }
      })(),
    'leaves fields undefined': () => ({ username: undefined, password: PASSWORD, expiresAt: undefined, tls: undefined }),
  }
  for (const [name, credentials] of Object.entries(ANSWERS)) {
    test(`${name}: the cache logs in`, async (t) => {
      assert.equal(await open(t, await server(t), credentials).shouldFetchFlagDefinitions(), true)
    })
  }

  const FAULTS = {
    'throws an error': [() => raise(new Error('no network')), /option 'credentials': no network$/],
    'throws a text': [() => raise('no network'), /option 'credentials': no network$/],
    'throws what is no text': [
      () => raise({ toString: null, message: undefined }),
      /option 'credentials': the function threw a value that cannot be shown$/,
    ],
    rejects: [async () => raise(new Error('no network')), /option 'credentials': no network$/],
    'returns nothing': [() => {}, /'credentials\(\)' is undefined/],
    'returns a text': [() => PASSWORD, /'credentials\(\)' is a string/],
    'returns an array': [() => [PASSWORD], /'credentials\(\)' is an object/],
    'returns a number for a password': [() => ({ password: 1 }), /'credentials\(\)\.password' is a number/],
    'returns an empty password': [() => ({ password: '' }), /'credentials\(\)\.password' is empty/],
    'returns a date': [() => ({ password: PASSWORD, expiresAt: new Date() }), /'credentials\(\)\.expiresAt' is an object/],
    'returns what throws': [
      () => ({
        password: PASSWORD,
        get expiresAt() {
          return raise(new Error('no time'))
        },
      }),
      /option 'credentials': no time$/,
    ],
    'does not return': [() => new Promise(() => {}), /option 'credentials': no answer within 300 ms$/],
  }
  for (const [name, [credentials, message]] of Object.entries(FAULTS)) {
    test(`${name}: ERR_FLAG_CACHE_AUTH`, async (t) => {
      const error = await failure(open(t, await server(t), credentials, { connectTimeoutMs: 300 }).getFlagDefinitions())
      assert.equal(error.code, 'ERR_FLAG_CACHE_AUTH')
      assert.match(error.message, message)
      assert.ok(!error.message.includes(PASSWORD))
    })
  }

  test('is not called for logins that timed out while it blocked the event loop', async (t) => {
    let calls = 0
    const blocking = () => {
      calls += 1
      const until = performance.now() + 1_500
      while (performance.now() < until);
      return { password: PASSWORD }
    }
    const cache = open(t, await server(t), blocking, { connectTimeoutMs: 100, commandTimeoutMs: 100 })
    await failure(cache.getFlagDefinitions())
    assert.ok(calls <= 2, `${calls} calls`)
  })

  test('is a function, and replaces a password', (t) => {
    const options = (code) => ({ code: 'ERR_FLAG_CACHE_OPTIONS', message: code })
    assert.throws(() => open(t, { url: 'redis://h' }, PASSWORD), options(/option 'credentials' is a string/))
    assert.throws(
      () => open(t, { url: 'redis://h' }, ANSWERS['returns them'], { password: 'p' }),
      options(/cannot be combined with a password/),
    )
    assert.throws(() => open(t, { url: 'redis://:p@h' }, ANSWERS['returns them']), options(/cannot be combined with a password/))
    for (const url of ['memory:', 'file:///tmp/unused']) open(t, { url }, () => raise(new Error('nobody calls it')))
  })

  test('shares a connection with caches that have the same one, and with no others', async (t) => {
    const redis = await server(t)
    const [one, another] = [() => ({ password: PASSWORD }), () => ({ password: PASSWORD })]
    const projectKey = newProjectKey()
    for (const credentials of [one, one, another]) {
      await open(t, redis, credentials, { projectKey, clientName: 'sharing' }).shouldFetchFlagDefinitions()
    }
    assert.equal(await connections(redis, 'sharing'), 2)
  })
})

describe('in a separate process the function', () => {
  const run = async (t, source, options) => {
    const OPTIONS = JSON.stringify({ projectKey: newProjectKey(), url: (await server(t)).url, clientName: 'own' })
    const { code, stdout, stderr } = await runNode(
      `const { Worker } = require('node:worker_threads')
      const { FlagDefinitionCache } = require('posthog-flag-cache')
      const options = JSON.parse(process.env.OPTIONS)
      const password = ${JSON.stringify(PASSWORD)}
      ${source}`,
      { env: { OPTIONS }, ...options },
    )
    assert.deepEqual([code, stderr], [0, ''])
    return stdout
  }

  test('keeps no process alive', async (t) => {
    const stdout = await run(
      t,
      `
      let calls = 0
      const credentials = () => (calls++ === 0 ? { password, expiresAt: Date.now() + 2_000 } : new Promise(() => {}))
      const cache = new FlagDefinitionCache({ ...options, credentials })
      cache.onError(() => {})
      cache.shouldFetchFlagDefinitions().then(console.log)
      const timer = setInterval(() => calls === 2 && clearInterval(timer), 10)
      `,
    )
    assert.equal(stdout, 'true\n')
  })

  test('may run while its worker thread is terminated, and while the process exits', async (t) => {
    const stdout = await run(
      t,
      `
      const source = "const { parentPort, workerData } = require('node:worker_threads');" +
        "const { FlagDefinitionCache } = require('posthog-flag-cache');" +
        "const credentials = () => { parentPort.postMessage('called'); return new Promise(() => {}) };" +
        "new FlagDefinitionCache({ ...workerData, credentials }).getFlagDefinitions()"
      async function main() {
        for (let n = 0; n < 5; n += 1) {
          const worker = new Worker(source, { eval: true, workerData: options })
          await new Promise((resolve) => worker.once('message', resolve))
          await worker.terminate()
        }
        const cache = new FlagDefinitionCache({ ...options, credentials: () => ({ password }) })
        console.log(await cache.shouldFetchFlagDefinitions())
        const hanging = () => {
          setImmediate(() => process.exit())
          return new Promise(() => {})
        }
        new FlagDefinitionCache({ ...options, credentials: hanging }).getFlagDefinitions()
      }
      main()
      `,
    )
    assert.equal(stdout, 'true\n')
  })

  test('is not kept in memory after its cache is gone', async (t) => {
    const stdout = await run(
      t,
      `
      const { setTimeout: sleep } = require('node:timers/promises')
      async function use() {
        const credentials = () => ({ password })
        const cache = new FlagDefinitionCache({ ...options, credentials })
        await cache.shouldFetchFlagDefinitions()
        await cache.shutdown()
        return new WeakRef(credentials)
      }
      async function main() {
        const function_ = await use()
        while (function_.deref()) {
          await sleep(10)
          gc()
          // The addon drops what nobody uses when a cache is made.
          new FlagDefinitionCache({ ...options, url: 'memory:' })
        }
        console.log('collected')
      }
      main()
      `,
      { execArgv: ['--expose-gc'] },
    )
    assert.equal(stdout, 'collected\n')
  })
})

describe('--password-file', () => {
  test('is read at each login', async (t) => {
    const redis = await server(t)
    const file = join(temporaryDirectory(t), 'password')
    const command = (name, env) =>
      cli([name, '--json', '--password-file', file], { env: { ...environment({ url: redis.url, projectKey: newProjectKey() }), ...env } })
    for (const lineBreak of ['', '\n', '\r\n']) {
      writeFileSync(file, PASSWORD + lineBreak)
      const { code, stdout, stderr } = await command('doctor')
      assert.deepEqual([code, stderr], [0, ''], stdout)
      const found = JSON.parse(stdout).findings.find(({ check }) => check === 'credentials')
      assert.equal(found.verdict, 'ok', found.message)
    }
    writeFileSync(file, 'old')
    const old = await command('status')
    assert.equal(old.code, 1)
    assert.match(old.stderr, /ERR_FLAG_CACHE_AUTH/)
    assert.match(
      (await command('status', { POSTHOG_FLAG_CACHE_PASSWORD: PASSWORD })).stderr,
      /--password-file cannot be combined with a password/,
    )
  })

  test('that is no file, or too long for a password, is not read', { skip: process.platform === 'win32' }, async (t) => {
    const env = environment({ url: (await server(t)).url, projectKey: newProjectKey() })
    const file = (name) => join(temporaryDirectory(t), name)
    const [pipe, long] = [file('pipe'), file('long')]
    assert.equal(spawnSync('mkfifo', [pipe]).status, 0)
    writeFileSync(long, 'x'.repeat(65_537))
    for (const [path, why] of [
      [pipe, 'it is not a regular file'],
      ['/dev/zero', 'it is not a regular file'],
      [long, 'it is larger than 65536 bytes'],
    ]) {
      const { code, stderr } = await cli(['status', '--password-file', path], { env })
      assert.equal(code, 1)
      assert.ok(stderr.includes(`--password-file: the file cannot be read (${why}). Check its path`), stderr)
    }
  })

  test('that cannot be read is an error that says so', async (t) => {
    const redis = await server(t)
    const env = environment({ url: redis.url, projectKey: newProjectKey() })
    const { code, stderr } = await cli(['status', '--password-file', join(temporaryDirectory(t), 'none')], { env })
    assert.equal(code, 1)
    assert.match(stderr, /--password-file: the file cannot be read \(ENOENT\)\. Check its path and its permissions\.$/m)
    const doctor = await cli(['doctor', '--json', '--password-file', temporaryDirectory(t)], { env })
    assert.equal(JSON.parse(doctor.stdout).findings[0].check, 'credentials')
  })
})

function raise(error) {
  throw error
}
