// The password is told to the server, the secret key to PostHog, and neither to anybody else: no command shows them.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { cli, environment, startCli } from '../support/cli.mjs'
import { standIn } from '../support/client.mjs'
import { ENCODED, FORMS, PASSWORD, SECRET_KEY } from '../support/secrets.mjs'
import { closedPort, redisFor } from '../support/stores.mjs'

const COMMANDS = [
  ['status'],
  ['status', '--json'],
  ['get'],
  ['refresh'],
  ['refresh', '--json'],
  ['purge', '--yes'],
  ['doctor'],
  ['doctor', '--json'],
  ['watch'],
]

/** How a command may come by the password: its arguments and variables. */
const WAYS = {
  'in REDIS_URL': (port) => ({ env: { REDIS_URL: `redis://:${ENCODED}@127.0.0.1:${port}` } }),
  'in POSTHOG_FLAG_CACHE_URL, with a user': (port) => ({ env: { POSTHOG_FLAG_CACHE_URL: `redis://default:${ENCODED}@127.0.0.1:${port}` } }),
  'in its own variable': (port) => ({ args: ['--url', `redis://127.0.0.1:${port}`], env: { POSTHOG_FLAG_CACHE_PASSWORD: PASSWORD } }),
}

const requiring = async (t, password, args = []) => (await redisFor(t, { args: ['--requirepass', password, ...args] })).port

/** What is wrong, or nothing: `(t) => port`. */
const SITUATIONS = {
  'all is well': (t) => requiring(t, PASSWORD),
  'the password is wrong': (t) => requiring(t, 'another'),
  'the server does not know the commands to log in with': (t) =>
    requiring(
      t,
      PASSWORD,
      ['HELLO', 'AUTH'].flatMap((name) => ['--rename-command', name, '']),
    ),
  'nobody listens': () => closedPort(),
}

describe('no command shows the password or the secret key', { concurrency: 2 }, () => {
  for (const [situation, arrange] of Object.entries(SITUATIONS)) {
    for (const [way, configure] of Object.entries(WAYS)) {
      test(`when ${situation}, given ${way}`, async (t) => {
        const api = await standIn(t, { secretKey: SECRET_KEY })
        const port = await arrange(t)
        const { args = [], env } = configure(port)
        let told = ''
        for (const command of COMMANDS) {
          const options = { env: { ...environment({ url: '', api }), ...env } }
          const { child, ended } = startCli([...command, ...args], options)
          if (command[0] === 'watch') child.stdout.once('data', () => child.kill('SIGINT'))
          const { code, stdout, stderr } = await ended
          if (situation === 'all is well' && ['refresh', 'doctor', 'watch'].includes(command[0])) assert.equal(code, 0, stdout + stderr)
          if (situation !== 'all is well') assert.equal(code, 1, stdout + stderr)
          told += stdout + stderr
        }
        hidden(told)
      })
    }
  }
})

describe('a password in --url, which other users can read, is rejected', () => {
  const urls = {
    'of a server': `redis://:${ENCODED}@127.0.0.1:1`,
    'of a user': `redis://default:${ENCODED}@127.0.0.1:1`,
    'over TLS': `rediss://default:${ENCODED}@127.0.0.1:1`,
    'of Valkey': `valkey://default:${ENCODED}@127.0.0.1:1`,
    'of sentinels': `redis-sentinel://u:${ENCODED}@127.0.0.1:1,127.0.0.1:2/0?master=x`,
    'of a cluster': `redis-cluster://u:${ENCODED}@127.0.0.1:1,127.0.0.1:2`,
    'of a socket': `redis+unix://:${ENCODED}@/run/redis.sock`,
    'not encoded': `redis://:${PASSWORD}@127.0.0.1:1`,
    'after spaces': `  redis://:${ENCODED}@127.0.0.1:1`,
    'with one slash': `redis:/:${ENCODED}@127.0.0.1`,
    'of another kind of url': `http://:${ENCODED}@127.0.0.1`,
    'in its query': `redis://127.0.0.1:1/0?password=${ENCODED}`,
    'for the sentinels, in its query': `redis-sentinel://127.0.0.1:1/0?master=x&sentinelPassword=${ENCODED}`,
    'in its fragment': `redis://127.0.0.1:1/0#auth=${ENCODED}`,
  }
  for (const [where, url] of Object.entries(urls)) {
    test(where, async () => {
      for (const args of [['--url', url], [`--url=${url}`]]) {
        const { code, stdout, stderr } = await cli(['status', '--project-key', 'phc_x', ...args])
        assert.deepEqual([code, stdout], [2, ''], stderr)
        assert.match(
          stderr,
          /^error: --url contains a password.* POSTHOG_FLAG_CACHE_URL or REDIS_URL .*POSTHOG_FLAG_CACHE_PASSWORD .*POSTHOG_FLAG_CACHE_SENTINEL_PASSWORD/,
        )
        hidden(stderr)
      }
    })
  }

  test('but what only looks like one is not', async () => {
    for (const url of [
      'redis://user@127.0.0.1:1',
      'redis-sentinel://user@127.0.0.1:1,127.0.0.1:2/0?master=author',
      'redis://[::1]:1/0',
      'file:///nowhere/a:b@c',
    ]) {
      const { stderr } = await cli(['status', '--project-key', 'phc_x', '--url', url])
      assert.doesNotMatch(stderr, /contains a password/, url)
    }
  })
})

test('nor does a refusal by PostHog, whatever it answers', async (t) => {
  const api = await standIn(t)
  for (const args of [[], ['--host', `${api.url}/nowhere`]]) {
    const env = { ...environment({ url: 'memory:', api }), POSTHOG_SECRET_KEY: SECRET_KEY }
    const { code, stderr } = await cli(['refresh', ...args], { env })
    assert.equal(code, 1)
    hidden(stderr)
  }
})

test('nor does a command line that is wrong, wherever the secret stands in it', async () => {
  const lines = [
    [`redis://:${ENCODED}@host`],
    ['status', `redis://:${ENCODED}@host`],
    ['status', `--redis://:${ENCODED}@host`],
    ['status', `--password=${PASSWORD}`],
    ['status', '--password', PASSWORD],
    ['refresh', `--secret-key=${SECRET_KEY}`],
    ['refresh', '--project-key', SECRET_KEY],
    ['status', '--project-key', 'phc_x', '--url', `redis:/:${ENCODED}@host`],
    ['status', '--project-key', 'phc_x', '--url', `${PASSWORD}://host`],
    ['status', '--project-key', 'phc_x', '--tls-key', PASSWORD],
    ['status', '--project-key', 'phc_x', '--command-timeout-ms', PASSWORD],
    ['refresh', '--project-key', 'phc_x', '--host', `https://user:${ENCODED}@host`],
  ]
  for (const line of lines) {
    const { code, stdout, stderr } = await cli(line, { env: { POSTHOG_SECRET_KEY: SECRET_KEY } })
    assert.deepEqual([code, stdout], [2, ''], stderr)
    hidden(stderr)
  }
})

function hidden(told) {
  for (const form of FORMS) assert.ok(!told.includes(form), `${form} in: ${told}`)
}
