// What reaches the terminal: names, errors and definitions come from Redis, files, PostHog and the command line, and may hold
// sequences that a terminal obeys (OSC 52 writes its clipboard), line breaks that forge a line, or characters that reorder one.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'

import { cli, cliAtTerminal, environment, startCli, startCliAtTerminal, terminal } from '../support/cli.mjs'
import { openCache, publish } from '../support/client.mjs'
import { newProjectKey, redisFor, temporaryDirectory } from '../support/stores.mjs'

const ESC = '\x1b'
const CLIPBOARD = `${ESC}]52;c;aGFjaw==\x07`
const C1 = String.fromCharCode(...Array.from({ length: 0x21 }, (_, index) => 0x7f + index))
const BIDI = '\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069'
/** Without line breaks, for what cannot hold them. */
const HOSTILE_LINE = `evil${CLIPBOARD}${ESC}[2J\b\v\f${C1}${BIDI}\u2028\u2029\u200b`
const HOSTILE = `${HOSTILE_LINE}\r\nok   forged`

const COMMANDS = [
  ['status'],
  ['status', '--json'],
  ['get', '--flag', HOSTILE],
  ['refresh'],
  ['doctor'],
  ['doctor', '--json'],
  ['purge', '--yes'],
  ['watch'],
  ['watch', '--json'],
]
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u

function assertHarmless(text) {
  const found = UNSAFE.exec(text.replaceAll('\n', ''))
  assert.equal(found, null, `U+${found?.[0].codePointAt(0).toString(16)} in: ${JSON.stringify(text)}`)
  assert.doesNotMatch(text, /^ok {3}forged/m)
}

/** Runs a command, `watch` until its first line; everything that it wrote. */
async function run(args, env) {
  const { child, ended } = startCli(args, { env })
  if (args[0] === 'watch') for (const stream of [child.stdout, child.stderr]) stream.once('data', () => child.kill('SIGINT'))
  const { stdout, stderr } = await ended
  if (args.includes('--json') && stdout) JSON.parse(stdout)
  return stdout + stderr
}

/** Runs every command; what each wrote, by its name and options. `more`: further options of each. */
async function runAll(env, more = []) {
  const told = {}
  for (const args of COMMANDS) {
    told[args.join(' ')] = await run([...args, ...more], env)
    assertHarmless(told[args.join(' ')])
  }
  return told
}

/** A server that answers each command (`['PING', …]`, by `answer`) with raw RESP. Its port. */
async function hostileRedis(t, answer) {
  const server = createServer((socket) => {
    let held = ''
    socket
      .setEncoding('latin1')
      .on('error', () => {})
      .on('data', (data) => {
        held += data
        for (let command = firstCommand(held); command; command = firstCommand(held)) {
          held = held.slice(command.length)
          socket.write(answer(command.words))
        }
      })
    t.after(() => socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return server.address().port
}

/** The words of the first command in `text`, an array of bulk strings, and its length; nothing while it is incomplete. */
function firstCommand(text) {
  const [head, count] = /^\*(\d+)\r\n/.exec(text) ?? []
  if (!head) return undefined
  const words = []
  let at = head.length
  for (let left = Number(count); left > 0; left -= 1) {
    const [size, length] = /^\$(\d+)\r\n/.exec(text.slice(at)) ?? []
    if (!size || text.length < at + size.length + Number(length) + 2) return undefined
    words.push(text.slice(at + size.length, at + size.length + Number(length)))
    at += size.length + Number(length) + 2
  }
  return { words: [words[0].toUpperCase(), ...words.slice(1)], length: at }
}

const bulk = (text) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`
const hello = (server, version) =>
  `%3\r\n${bulk('server')}${bulk(server)}${bulk('version')}${bulk(version)}${bulk('role')}${bulk('master')}`

describe('whatever a state in Redis holds, no command writes a control character', () => {
  /** Definitions with a hostile flag, and what the state says of them. */
  async function open(t, change) {
    const server = await redisFor(t)
    const projectKey = newProjectKey()
    await publish(openCache(t, { url: server.url, projectKey }), { flags: [{ key: HOSTILE, name: HOSTILE }] })
    const client = server.client()
    const stateKey = `posthog:flags:{${projectKey}}:state`
    await change(client, stateKey, await client.hgetall(stateKey))
    return { ...environment({ url: server.url, projectKey }), POSTHOG_SECRET_KEY: 'phs_x', POSTHOG_HOST: 'http://127.0.0.1:1' }
  }

  test('with a hostile owner and ETag', async (t) => {
    const env = await open(t, (client, key) => client.hset(key, 'owner', HOSTILE, 'etag', HOSTILE, 'expires_at', Date.now() + 5_000))
    const told = await runAll(env)
    assert.match(told['status --json'], /evil\\u001b\]52;c;aGFjaw==\\u0007/)
    assert.match(
      told.status,
      /^leader +evil\\u001b\]52;c;aGFjaw==\\u0007.*\\u007f.*\\u009f.*\\u202e.*\\u2028.*\\u000d\\u000aok {3}forged, lease ends in /m,
    )
    assert.match(told[`get --flag ${HOSTILE}`], /"key": "evil\\u001b/)
  })

  test('with every field hostile', async (t) => {
    await runAll(
      await open(t, (client, key, state) => client.hset(key, Object.fromEntries(Object.keys(state).map((name) => [name, HOSTILE])))),
    )
  })

  test('with every text hostile and every number sound', async (t) => {
    await runAll(
      await open(t, (client, key, state) =>
        client.hset(key, Object.fromEntries(Object.entries(state).map(([name, value]) => [name, /^\d+$/.test(value) ? value : HOSTILE]))),
      ),
    )
  })

  test('get prints a byte-for-byte copy to a pipe', async (t) => {
    const { stdout } = await cli(['get'], { env: await open(t, () => {}) })
    assert.equal(JSON.parse(stdout).flags[0].key, HOSTILE)
    assert.ok(stdout.includes('\u202e'))
  })

  test('nor at a terminal, where get escapes too, and only our own sequences remain', terminal, async (t) => {
    const env = await open(t, (client, key) => client.hset(key, 'owner', HOSTILE, 'etag', HOSTILE, 'expires_at', Date.now() + 60_000))
    const ours = /\x1b\[(\d+m|\?25[lh]|[KJ]|\d+A)|\r/g
    for (const args of [['status'], ['get']]) {
      const { stdout } = await cliAtTerminal(args, { env })
      assertHarmless(stdout.replace(ours, ''))
      assert.match(stdout, /evil\\u001b\]52;c;aGFjaw==/)
    }
    const { child, ended } = startCliAtTerminal(['watch'], { env: { ...env, COLUMNS: '500' } })
    child.stdout.on('data', (text) => /grant \d+ given/.test(text) && child.stdin.write('\x03'))
    assertHarmless((await ended).stdout.replace(ours, '').replaceAll('^C', ''))
  })
})

describe('whatever a server answers, no command writes a control character', () => {
  const project = (url) => ({
    ...environment({ url, projectKey: 'phc_x' }),
    POSTHOG_SECRET_KEY: 'phs_x',
    POSTHOG_HOST: 'http://127.0.0.1:1',
  })
  // Either way it is escaped: by the output, or by the engine.
  // Doctor waits for a notice that never comes.
  const examine = (url) => runAll(project(url), ['--command-timeout-ms', '300'])
  const saysIt = (told) => assert.match(Object.values(told).join(''), /evil\\u(001b|\{1b\})\]52/)

  for (const [what, error] of Object.entries({
    'an error': `-ERR ${HOSTILE_LINE}\r\n`,
    'a rejected login': `-WRONGPASS ${HOSTILE_LINE}\r\n`,
    'an error code': `-${HOSTILE_LINE.replaceAll(' ', '')} x\r\n`,
    'an error of several lines': `!${Buffer.byteLength(`ERR ${HOSTILE}`)}\r\nERR ${HOSTILE}\r\n`,
  })) {
    test(`${what}, to everything`, async (t) => {
      const port = await hostileRedis(t, () => error)
      saysIt(await examine(`redis://127.0.0.1:${port}`))
    })

    test(`${what}, once it has taken the login`, async (t) => {
      const port = await hostileRedis(t, ([name]) => (name === 'HELLO' ? hello('redis', '7.0.0') : name === 'CLIENT' ? '+OK\r\n' : error))
      saysIt(await examine(`redis://127.0.0.1:${port}`))
    })
  }

  test('its name and version', async (t) => {
    const port = await hostileRedis(t, ([name]) =>
      name === 'HELLO' ? hello(HOSTILE, HOSTILE) : name === 'CLIENT' ? '+OK\r\n' : bulk(HOSTILE),
    )
    await examine(`redis://127.0.0.1:${port}`)
  })

  test('the name of a primary, or of a node', async (t) => {
    const address = `*2\r\n${bulk(HOSTILE)}${bulk('6379')}`
    const sentinel = await hostileRedis(t, ([name]) => (name === 'SENTINEL' ? address : '+OK\r\n'))
    saysIt(await examine(`redis-sentinel://127.0.0.1:${sentinel}/0?master=x`))
    const slots = `*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n${bulk(HOSTILE)}:6379\r\n${bulk('id')}`
    const node = await hostileRedis(t, ([name]) => (name === 'CLUSTER' ? slots : '+OK\r\n'))
    saysIt(await examine(`redis-cluster://127.0.0.1:${node}`))
  })
})

describe('nor does a directory with such a name', { skip: process.platform === 'win32' && 'there are no such names' }, () => {
  const open = (t) => {
    const url = pathToFileURL(join(temporaryDirectory(t), HOSTILE)).href.replace(/[\x7f-\uffff]/g, encodeURIComponent)
    return { ...environment({ url, projectKey: 'phc_x' }), POSTHOG_SECRET_KEY: 'phs_x', POSTHOG_HOST: 'http://127.0.0.1:1' }
  }

  test('in any command', async (t) => {
    const told = await runAll(open(t))
    assert.match(told.status, /^store .*evil\\u001b\]52/m)
    assert.match(told['status --json'], /"location": ".*evil\\u001b\]52/)
  })

  test('in the question of purge', terminal, async (t) => {
    const { stdout } = await cliAtTerminal(['purge'], { env: open(t), prompt: '[y/N] ', input: 'n\n' })
    // readline moves the cursor and erases.
    assertHarmless(stdout.replace(/\x1b\[\d*[GJK]|\r/g, ''))
    assert.match(stdout, /evil\\u001b\]52;c;aGFjaw==/)
  })
})

test('nor does a refresh, whatever PostHog answers', async (t) => {
  const bytes = Buffer.from(HOSTILE_LINE.replace(/[^\x20-\x7e\x80-\xff]/g, ''), 'latin1').toString('latin1')
  const answers = {
    'an ETag': [200, { ETag: `"${bytes}"` }, JSON.stringify({ flags: [{ key: HOSTILE }] })],
    'a reason': [500, {}, HOSTILE],
    'no JSON': [200, {}, HOSTILE],
  }
  let answer
  const api = createHttpServer((_request, response) => {
    const [status, headers, body] = answer
    response.writeHead(status, bytes, headers).end(body)
  })
  api.listen(0, '127.0.0.1')
  await once(api, 'listening')
  t.after(() => api.close())
  for (const [what, given] of Object.entries(answers)) {
    answer = given
    for (const args of [[], ['--json']]) {
      const env = {
        ...environment({ url: 'memory:', projectKey: newProjectKey() }),
        POSTHOG_SECRET_KEY: 'phs_x',
        POSTHOG_HOST: `http://127.0.0.1:${api.address().port}`,
      }
      const { code, stdout, stderr } = await cli(['refresh', ...args], { env })
      assert.equal(code, what === 'an ETag' ? 0 : 1, stderr)
      assertHarmless(stdout + stderr)
    }
  }
})

test('nor does what is given on the command line', async () => {
  const env = environment({ url: 'memory:', projectKey: 'phc_x' })
  for (const args of [
    [HOSTILE],
    [`--${HOSTILE}`],
    ['status', HOSTILE],
    ['status', `--${HOSTILE}`],
    ['doctor', '--key-prefix', HOSTILE],
    ['doctor', '--url', HOSTILE],
    ['status', '--url', `redis://${HOSTILE}`],
    ['status', '--compression', HOSTILE],
    ['status', '--project-key', HOSTILE],
    ['status', '--client-name', HOSTILE],
    ['get', '--flag', HOSTILE],
    ['refresh', '--host', HOSTILE],
  ]) {
    const { stdout, stderr } = await cli(args, { env: { ...env, POSTHOG_SECRET_KEY: 'phs_x' } })
    assertHarmless(stdout + stderr)
  }
})

test('only lib/cli/output.js has access to the outputs', () => {
  const folder = new URL('../../lib/cli/', import.meta.url)
  const others = readdirSync(folder).filter((name) => name !== 'output.js')
  for (const name of others)
    assert.doesNotMatch(readFileSync(new URL(name, folder), 'utf8'), /\bconsole\b|\b(process|output)\.std(out|err)\b/, name)
})
