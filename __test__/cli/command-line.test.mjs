// The command line itself: what it takes, what it says, and how it ends.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'

import { runNode } from '../support/child.mjs'
import { CLI, cli, cliAtTerminal, environment, startCli, startCliInto, terminal } from '../support/cli.mjs'
import { defaultOf, OPTIONS, TLS_OPTIONS } from '../support/typings.mjs'
import { openCache, publish, standIn } from '../support/client.mjs'
import { newProjectKey, temporaryDirectory } from '../support/stores.mjs'

const COMMANDS = ['status', 'watch', 'get', 'refresh', 'relay', 'purge', 'doctor']
const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const COLOUR = /\x1b\[/

/** A directory, a project in it, and the variables that name both. */
function place(t) {
  const [url, projectKey] = [pathToFileURL(temporaryDirectory(t)).href, newProjectKey()]
  return { url, projectKey, env: environment({ url, projectKey }) }
}

describe('help', () => {
  test('npx finds the command, and its file can be executed', () => {
    assert.deepEqual(JSON.parse(read('package.json')).bin, { 'posthog-flag-cache': 'cli.js' })
    assert.equal(execFileSync(CLI, ['--version'], { encoding: 'utf8' }).trim(), JSON.parse(read('package.json')).version)
  })

  test('without a command the help comes, on standard error, and the exit code 2', async () => {
    const { code, stdout, stderr } = await cli([])
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, /^Usage: posthog-flag-cache <command>/m)
  })

  for (const args of [['--help'], ['-h'], ['help']]) {
    test(`${args} names every command, the exit codes, and where secrets come from`, async () => {
      const { code, stdout, stderr } = await cli(args)
      assert.deepEqual([code, stderr], [0, ''])
      for (const command of COMMANDS) assert.match(stdout, new RegExp(`^  ${command} +\\S`, 'm'))
      for (const exit of [0, 1, 2]) assert.match(stdout, new RegExp(`^  ${exit} +\\S`, 'm'))
      for (const variable of ['POSTHOG_SECRET_KEY', 'POSTHOG_FLAG_CACHE_PASSWORD', 'NO_COLOR'])
        assert.ok(stdout.includes(variable), variable)
    })
  }

  for (const command of COMMANDS) {
    test(`${command} --help teaches it, and needs neither a project nor a store`, async () => {
      const { code, stdout, stderr } = await cli([command, '--help'])
      assert.deepEqual([code, stderr], [0, ''])
      assert.match(stdout, new RegExp(`^Usage: posthog-flag-cache ${command} `))
      assert.match(stdout, /^Exit codes:\n {2}0 .+\n {2}1 .+\n {2}2 /m)
      assert.match(stdout, new RegExp(`^Examples:\\n {2}posthog-flag-cache ${command}\\b.*# `, 'm'))
      assert.equal((await cli(['help', command])).stdout, stdout)
    })
  }

  test('lines fit a terminal of 132 columns', async () => {
    for (const args of [[], ...COMMANDS.map((command) => [command])]) {
      const { stdout } = await cli([...args, '--help'])
      assert.deepEqual(
        stdout.split('\n').filter((line) => line.length > 132),
        [],
      )
    }
  })

  test('every option of the class is a command-line option, a secret in the environment, or not needed', async () => {
    const { CLASS_OPTIONS, SECRETS } = createRequire(import.meta.url)('../../lib/cli/options.js')
    const ours = [...Object.values(CLASS_OPTIONS), ...Object.values(SECRETS)].map(({ option }) => option)
    const tls = [...TLS_OPTIONS.keys()].map((name) => `tls.${name}`)
    const useless = ['whenUnavailable', 'whenRefused'] // a command has no polls
    assert.deepEqual(ours.sort(), [...[...OPTIONS.keys()].filter((name) => name !== 'tls' && !useless.includes(name)), ...tls].sort())
    for (const [flag, { option }] of Object.entries(CLASS_OPTIONS)) {
      // A command line has no functions.
      const name = option === 'credentials' ? 'passwordFile' : option
      assert.equal(
        flag,
        name.replace('.', '-').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
      )
    }
  })

  test('the defaults that the help names are those of the typings, and of posthog-node', async () => {
    const { stdout } = await cli(['refresh', '--help'])
    for (const name of ['refreshIntervalMs', 'maxAgeMs', 'coldStartWaitMs', 'connectTimeoutMs', 'commandTimeoutMs']) {
      const flag = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
      assert.match(stdout, new RegExp(`--${flag} <ms> +.*default: ${defaultOf(OPTIONS.get(name))}$`, 'm'))
    }
    const [, host] = read('node_modules/posthog-node/dist/client.js').match(/DEFAULT_NODE_HOST = '([^']+)'/)
    assert.match(stdout, new RegExp(`--host <url> +PostHog's URL; default: ${host} `))
  })
})

describe('an invalid command line ends with 2, and says what is allowed', () => {
  const TIMEOUT = /: --request-timeout-ms must be a whole number of milliseconds, from 1 to 2147483647\n/
  const SECRET = { POSTHOG_SECRET_KEY: 'phs_x' }
  const cases = {
    'an unknown command': [['statsu'], /unknown command statsu; allowed: status, watch, get, refresh, relay, purge, doctor/],
    'an option before the command': [['--url', 'memory:', 'status'], /the command must come first/],
    'an unknown option': [['status', '--jsn'], /unknown option --jsn; allowed: .*--json.*--project-key/],
    'an option of another command': [['status', '--yes'], /unknown option --yes;/],
    'an option named like what every object has': [['status', '--constructor'], /unknown option --constructor;/],
    'a missing value at the end': [['status', '--url'], /--url needs a value/],
    'a missing value before another option': [['status', '--url', '--json'], /--url needs a value/],
    'an empty value': [['status', '--url='], /--url needs a value/],
    'a value for a switch': [['status', '--json=yes'], /--json takes no value/],
    'a value without an option': [['status', 'redis://:s3cret@host'], /belongs to no option/],
    'no project': [['status'], /--project-key .*POSTHOG_PROJECT_KEY/],
    'a secret key in place of the project key': [['status', '--project-key', 'phs_s3cret'], /a secret key .* was given as the project key/],
    'words in place of milliseconds': [
      ['status', '--project-key', 'phc_x', '--command-timeout-ms', 's3cret'],
      /--command-timeout-ms needs a whole number/,
    ],
    'milliseconds out of range': [
      ['status', '--project-key', 'phc_x', '--refresh-interval-ms', '5'],
      /\[ERR_FLAG_CACHE_OPTIONS\]: --refresh-interval-ms is 5; allowed: .* from 100 to/,
    ],
    'a url of another kind': [
      ['status', '--project-key', 'phc_x', '--url', 'http://s3cret'],
      /--url has an unknown scheme; allowed: redis:/,
    ],
    'a password in the url': [['status', '--project-key', 'phc_x', '--url', 'redis://:s3cret@host'], /--url contains a password/],
    'a file that is not there': [
      ['status', '--project-key', 'phc_x', '--tls-key', 's3cret.pem'],
      /cannot read the file of --tls-key \(ENOENT\)/,
    ],
    'a word that is none of several': [
      ['status', '--project-key', 'phc_x', '--compression', 'gzip'],
      /--compression is 'gzip'; allowed: 'auto', 'zstd', 'none'/,
    ],
    'TLS options for a url without TLS': [
      ['status', '--project-key', 'phc_x', '--url', 'redis://x', '--tls-server-name', 'y'],
      /'tls' has no effect with this URL/,
    ],
    'a url of another kind in POSTHOG_FLAG_CACHE_URL': [
      ['status', '--project-key', 'phc_x'],
      /: POSTHOG_FLAG_CACHE_URL has an unknown scheme; allowed: redis:/,
      { POSTHOG_FLAG_CACHE_URL: 'http://s3cret' },
    ],
    'a url of another kind in REDIS_URL': [
      ['status', '--project-key', 'phc_x'],
      /: REDIS_URL has an unknown scheme; allowed: redis:/,
      { POSTHOG_FLAG_CACHE_URL: '', REDIS_URL: 'http://s3cret' },
    ],
    'a url of another kind that overrides a variable': [
      ['status', '--project-key', 'phc_x', '--url', 'http://s3cret'],
      /: --url has an unknown scheme; allowed: redis:/,
      { REDIS_URL: 'redis://x' },
    ],
    'a project key with a space in POSTHOG_PROJECT_KEY': [
      ['status'],
      /: POSTHOG_PROJECT_KEY cannot be part of a key/,
      { POSTHOG_PROJECT_KEY: 'phc_x s3cret' },
    ],
    'a password in a variable beside --password-file': [
      ['status', '--project-key', 'phc_x', '--password-file', 's3cret'],
      /: --password-file cannot be combined with a password; .* in POSTHOG_FLAG_CACHE_PASSWORD or REDIS_URL\n/,
      { REDIS_URL: 'redis://:s3cret@x' },
    ],
    'no time for a request of refresh': [['refresh', '--project-key', 'phc_x', '--request-timeout-ms', '0'], TIMEOUT, SECRET],
    'a longer time than a timer has': [['refresh', '--project-key', 'phc_x', '--request-timeout-ms', '2147483648'], TIMEOUT, SECRET],
    'words in place of that time': [['refresh', '--project-key', 'phc_x', '--request-timeout-ms', 's3cret'], TIMEOUT, SECRET],
    'no time for a request of relay': [['relay', '--project-key', 'phc_x', '--request-timeout-ms', '0'], TIMEOUT, SECRET],
    'no secret key for refresh': [['refresh', '--project-key', 'phc_x'], /POSTHOG_SECRET_KEY/],
    'a host with a password': [
      ['refresh', '--project-key', 'phc_x', '--host', 'https://a:s3cret@b'],
      /--host or POSTHOG_HOST is not a valid URL/,
      { POSTHOG_SECRET_KEY: 'phs_x' },
    ],
    'a secret key that no header can hold': [
      ['refresh', '--project-key', 'phc_x'],
      /is not a secret key/,
      { POSTHOG_SECRET_KEY: 's3cr\net' },
    ],
    'a purge without anybody to ask': [['purge', '--project-key', 'phc_x'], /Use --yes/],
  }
  for (const [fault, [args, expected, env]] of Object.entries(cases)) {
    test(fault, async () => {
      const { code, stdout, stderr } = await cli(args, { env })
      assert.deepEqual([code, stdout], [2, ''], stderr)
      assert.match(stderr, expected)
      assert.match(stderr, /^error/)
      assert.match(stderr, /--help" for details/)
      assert.doesNotMatch(stderr, /s3cr/)
    })
  }
})

describe('options and environment', () => {
  test('an option overrides its variable, and an empty variable counts as not set', async (t) => {
    const { url, projectKey } = place(t)
    const env = { POSTHOG_PROJECT_KEY: 'phc_other', POSTHOG_FLAG_CACHE_URL: '', REDIS_URL: 'redis://127.0.0.1:1' }
    const { stdout } = await cli(['status', '--json', '--project-key', projectKey, `--url=${url}`], { env })
    assert.equal(JSON.parse(stdout).projectKey, projectKey)
    const { code, stderr } = await cli(['status'], { env })
    assert.equal(code, 1)
    assert.match(stderr, /^error \[ERR_FLAG_CACHE_UNAVAILABLE\]: redis:\/\/127\.0\.0\.1:1\/0 cannot be reached/)
  })

  test('a line break after the project key, as files with secrets have it, does not count', async (t) => {
    const { projectKey, env } = place(t)
    for (const [args, given] of [
      [[], { POSTHOG_PROJECT_KEY: `${projectKey}\n` }],
      [['--project-key', `${projectKey}\n`], {}],
    ]) {
      const { stdout, stderr } = await cli(['status', '--json', ...args], { env: { ...env, ...given } })
      assert.equal(stderr, '')
      assert.equal(JSON.parse(stdout).projectKey, projectKey)
    }
  })

  test('an empty password file is named as the cause', async (t) => {
    const file = join(temporaryDirectory(t), 'password')
    for (const text of ['', '\n']) {
      writeFileSync(file, text)
      const { code, stderr } = await cli(['status', '--password-file', file], {
        env: environment({ url: 'redis://127.0.0.1:1', projectKey: 'phc_x' }),
      })
      assert.equal(code, 1)
      assert.match(stderr, /^error \[ERR_FLAG_CACHE_AUTH\]: .*--password-file: the file is empty\. Write the password to it\.$/m)
    }
  })

  test('the prefix names another place', async (t) => {
    const { url, projectKey, env } = place(t)
    await publish(openCache(t, { url, projectKey, keyPrefix: 'other' }), { flags: [] })
    assert.equal((await cli(['status'], { env })).code, 1)
    assert.equal((await cli(['status', '--key-prefix', 'other'], { env })).code, 0)
  })
})

describe('output', () => {
  for (const command of ['status', 'doctor']) {
    test(`${command} has no colour where it is piped`, async (t) => {
      const { stdout, stderr } = await cli([command], { env: { ...place(t).env, FORCE_COLOR: '1' } })
      assert.doesNotMatch(stdout + stderr, COLOUR)
    })

    test(`${command} has colours at a terminal, but not with NO_COLOR`, terminal, async (t) => {
      const { env } = place(t)
      assert.match((await cliAtTerminal([command], { env })).stdout, COLOUR)
      assert.doesNotMatch((await cliAtTerminal([command], { env: { ...env, NO_COLOR: '1' } })).stdout, COLOUR)
    })
  }

  test('a reader that stops early (head) is no failure', async (t) => {
    const { url, projectKey, env } = place(t)
    await publish(openCache(t, { url, projectKey }), { flags: [{ key: 'x'.repeat(4_000_000) }] })
    const { child, ended } = startCli(['get'], { env })
    child.stdout.once('data', () => child.stdout.destroy())
    const { code, signal, stderr } = await ended
    assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
  })

  test('definitions of megabytes arrive whole', async (t) => {
    const { url, projectKey, env } = place(t)
    const text = JSON.stringify({ flags: [{ key: 'ä'.repeat(2_000_000) }] })
    await publish(openCache(t, { url, projectKey }), JSON.parse(text))
    assert.equal((await cli(['get'], { env })).stdout, text)
  })

  test('in a file too', { skip: process.platform === 'win32' && 'there is no sh' }, async (t) => {
    const { url, projectKey, env } = place(t)
    const text = JSON.stringify({ flags: [{ key: 'ä'.repeat(2_000_000) }] })
    await publish(openCache(t, { url, projectKey }), JSON.parse(text))
    const file = join(temporaryDirectory(t), 'definitions.json')
    const { code } = await startCliInto(file, ['get'], { env }).ended
    assert.equal(code, 0)
    assert.equal(readFileSync(file, 'utf8'), text)
  })
})

describe('output that cannot be written ends a command with 1 and the reason', { skip: !existsSync('/dev/full') && 'no /dev/full' }, () => {
  const lines = [['--help'], ['status', '--help'], ['get'], ['status'], ['status', '--json'], ['doctor'], ['refresh'], ['watch']]
  for (const args of lines) {
    test(`${args.join(' ')}, on a full device`, async (t) => {
      const api = await standIn(t)
      const { url } = place(t)
      await publish(openCache(t, { url, projectKey: api.projectKey }), { flags: [] })
      const { code, stderr } = await startCliInto('/dev/full', args, { env: environment({ url, api }) }).ended
      assert.deepEqual([code, stderr], [1, 'error [ENOSPC]: cannot write the output: no space left on device\n'])
    })
  }

  test('what a command says of itself is not lost with it', async () => {
    const { code, stderr } = await startCliInto('/dev/full', ['status']).ended
    assert.equal(code, 2)
    assert.match(stderr, /^error: the project key is missing/)
  })

  test('get, where a file can only take a part', async (t) => {
    const { url, projectKey, env } = place(t)
    await publish(openCache(t, { url, projectKey }), { flags: [{ key: 'x'.repeat(100_000) }] })
    const file = join(temporaryDirectory(t), 'definitions.json')
    const { code, stderr } = await startCliInto(file, ['get'], { env, before: 'ulimit -f 10' }).ended
    assert.deepEqual([code, stderr], [1, 'error [EFBIG]: cannot write the output: file too large\n'])
  })
})

test('the class loads nothing of the command line', async () => {
  const source = `
    require('posthog-flag-cache')
    console.log(Object.keys(require.cache).filter((path) => /[\\\\/]cli(\\.js$|[\\\\/])/.test(path)).length)
  `
  assert.equal((await runNode(source)).stdout, '0\n')
})

test('without its binary the command says what is missing', async (t) => {
  const api = await standIn(t)
  for (const command of ['status', 'refresh']) {
    const { code, stderr } = await cli([command], {
      env: { ...environment({ url: 'memory:', api }), NAPI_RS_NATIVE_LIBRARY_PATH: '/nowhere.node' },
    })
    assert.equal(code, 1)
    assert.match(stderr, /^error \[ERR_FLAG_CACHE_NATIVE\]: cannot load \/nowhere\.node, which NAPI_RS_NATIVE_LIBRARY_PATH names/)
  }
})

test('docs/cli.md names every command, variable and exit code, and shows what the commands print', async (t) => {
  const page = read('docs/cli.md')
  for (const command of COMMANDS) assert.match(page, new RegExp(`^## .*\`${command}\``, 'm'))
  const { stdout: help } = await cli(['--help'])
  for (const variable of new Set(`${help}`.match(/\b(POSTHOG|REDIS|NO)_[A-Z_]+\b/g))) assert.ok(page.includes(`\`${variable}\``), variable)
  for (const code of [0, 1, 2]) assert.match(page, new RegExp(`^\\| ${code} \\|`, 'm'))
  const [table] = page.match(/^project {2,}phc_[^`]*/m)
  const { recordRows } = createRequire(import.meta.url)('../../lib/cli/record.js')
  const definitions = { publishedMsAgo: 0, confirmedMsAgo: 0, storedBytes: 0, bytes: 0 }
  const labels = recordRows({
    backend: {},
    definitions,
    failedFetches: 0,
    refusedMsAgo: null,
    outdatedMsAgo: null,
    lastGrantMsAgo: 0,
    leader: null,
    retryInMs: null,
    expiresInMs: null,
    roundTripMs: 0,
  }).map(([label]) => label)
  const [, example] = page.match(/^```json\n(.*?)^```$/ms)
  const { env } = place(t)
  const { stdout: json } = await cli(['status', '--json'], { env })
  assert.deepEqual(Object.keys(JSON.parse(example)), Object.keys(JSON.parse(json)))
  assert.deepEqual(
    table
      .trim()
      .split('\n')
      .map((line) => line.split(/ {2,}/)[0]),
    labels,
  )
})
