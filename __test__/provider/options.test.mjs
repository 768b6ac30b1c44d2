// Every bad option is refused by the constructor, by name, and without a secret in the message.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'

import { FlagCacheError, FlagDefinitionCache } from '../support/client.mjs'

const SECRET = 's3cret-p4ssword'
const DURATIONS = ['refreshIntervalMs', 'leaseTtlMs', 'maxAgeMs', 'coldStartWaitMs', 'connectTimeoutMs', 'commandTimeoutMs']
// biome-ignore format: many values to a line
const TEXTS = [
  'projectKey', 'url', 'keyPrefix', 'role', 'whenUnavailable', 'whenRefused', 'compression', 'username', 'password', 'sentinelUsername',
  'sentinelPassword', 'clientName',
]

/** The error with which the constructor refuses `options`. */
function refusal(options, what = inspect(options)) {
  let cache
  try {
    cache = new FlagDefinitionCache(options)
  } catch (error) {
    assert.ok(error instanceof FlagCacheError, `${what} made it throw something else: ${inspect(error)}`)
    assert.equal(error.code, 'ERR_FLAG_CACHE_OPTIONS', what)
    assert.doesNotMatch(inspect(error, { showHidden: true, depth: null }) + error.stack, new RegExp(SECRET), what)
    return error
  }
  assert.fail(`${what} was accepted: ${inspect(cache)}`)
}

/** Refused, and the message says which option. */
function refused(name, value) {
  const what = `${name}: ${inspect(value)}`
  const { message } = refusal({ projectKey: 'phc_x', url: 'memory:', [name]: value }, what)
  assert.ok(message.replace(/^unknown /, '').startsWith(`option '${name}'`), `${what}: ${message}`)
  return message
}

describe('the constructor refuses', () => {
  test('to work without options', () => {
    for (const options of [undefined, null, 7, 'phc_x', true, 7n, Symbol('phc_x'), [], ['phc_x'], {}, () => {}]) {
      refusal(options)
    }
    assert.match(refusal({ url: 'memory:' }).message, /^option 'projectKey' is required/)
    assert.match(refusal({ projectKey: undefined }).message, /^option 'projectKey' is required/)
  })

  test('a secret key in place of the project key, and repeats nothing of it', () => {
    for (const prefix of ['phs_', 'phx_']) assert.match(refused('projectKey', `${prefix}${SECRET}`), /is a secret key/)
  })

  test('an object that inherits the options', () => {
    assert.match(refusal(Object.create({ projectKey: 'phc_x', url: 'memory:' })).message, /is inherited\. Pass a plain object/)
  })

  test('a value that is not text for a text option', () => {
    for (const name of TEXTS) {
      for (const value of [null, 7, NaN, true, 7n, Symbol(SECRET), [], {}, () => SECRET, new String('auto'), new Date(), '']) {
        // An empty `url` is that of an empty environment variable.
        if (name !== 'url' || value !== '') refused(name, value)
      }
    }
  })

  test('a duration that is not a whole number of milliseconds within the limits', () => {
    for (const name of DURATIONS) {
      // biome-ignore format: many values to a line
      for (const value of [
        null, '1000', '', true, 1000n, Symbol('1000'), [1000], { valueOf: () => 1000 }, () => 1000, new Number(1000),
        NaN, Infinity, -Infinity, -1, 0.5, 1000.5, 31_536_000_001, 2 ** 31 * 1000, Number.MAX_SAFE_INTEGER, 1e300, Number.MIN_VALUE,
      ]) {
        refused(name, value)
      }
    }
  })

  test('durations that are too short, or shorter than the interval they must outlast', () => {
    for (const name of DURATIONS.filter((name) => name !== 'coldStartWaitMs')) refused(name, 0)
    refused('refreshIntervalMs', 99)
    refused('leaseTtlMs', 29_999)
    refused('maxAgeMs', 29_999)
    const { message } = refusal({ projectKey: 'phc_x', url: 'memory:', refreshIntervalMs: 60_000, leaseTtlMs: 45_000 })
    assert.match(message, /^option 'leaseTtlMs' is 45000; allowed: at least refreshIntervalMs/)
  })

  test('a word that is none of those allowed', () => {
    assert.match(refused('role', 'Auto'), /is 'Auto'; allowed: 'auto', 'reader'$/)
    assert.match(refused('role', 'writer'), /allowed: 'auto', 'reader'$/)
    assert.match(refused('whenUnavailable', 'ignore'), /allowed: 'fetch', 'stale'$/)
    assert.match(refused('compression', 'gzip'), /allowed: 'auto', 'zstd', 'none'$/)
    for (const word of ['constructor', '__proto__', 'toString']) refused('role', word)
  })

  test('names that cannot be part of a key', () => {
    for (const name of ['projectKey', 'keyPrefix']) {
      for (const value of [' ', 'a b', 'a\tb', 'a\nb', 'a\0b', 'a{b', 'a}b', 'a\u2028b', 'a\u0085b', 'x'.repeat(201)]) refused(name, value)
    }
    refused('clientName', 'a b')
    refused('clientName', 'a\nb')
  })

  test('a local copy that is neither a switch nor the absolute path of a directory', () => {
    for (const value of [null, 7, 7n, Symbol(SECRET), [], {}, () => SECRET, '', 'true', 'cache', '/', '/a\0b']) refused('localCopy', value)
  })

  test('an unknown option', () => {
    for (const name of ['refreshInterval', 'ttl', 'toString', 'URL', '', 'tls ']) refused(name, 1)
    refused('fetch', () => {})
    assert.match(refused('refreshInterval', 1), /^unknown option 'refreshInterval'; allowed: projectKey, url, .*tls, clientName$/)
    refusal(JSON.parse('{"projectKey":"phc_x","url":"memory:","__proto__":{"role":"reader"}}'))
  })

  test('a URL that names no store, whichever part is wrong', () => {
    // biome-ignore format: many values to a line
    for (const url of [
      'localhost:6379', 'localhost', '/var/cache', 'C:\\cache', '//host', 'http://host', 'https://host', 'rediss', 'redis', 'redis:',
      'redis://', 'redis:///0', 'redis://host:0', 'memory', 'memory://host', 'postgres://host', 'unix:///tmp/redis.sock', 'file:',
      'file:relative', 'file://another-host/directory', 'file:///', 'file:///directory#1', 'file:///directory?x', 'file:///a%00b',
      'redis://host:notaport', 'redis://host:65536', 'redis://host:-1', 'redis://[::1', 'redis://host/first', 'redis://host/-1',
      'redis://host/1/2', 'redis://host/1.5', 'redis://host/99999999999999999999', 'redis://host/0?unknown=x', 'redis://host?tls=true', 'redis://host#x',
      ' ', '\0', 'redis://ho st', 'redis://%ff:x@host', `redis://host/${'x'.repeat(100_000)}`,
    ]) {
      refused('url', url)
    }
  })

  test('without ever echoing a password', () => {
    // biome-ignore format: many values to a line
    for (const url of [
      `redis://somebody:${SECRET}@host:notaport`, `redis://:${SECRET}@`, `redis://:${SECRET}@host/${SECRET}`, `${SECRET}://host`,
      `${SECRET}`, `:${SECRET}@host`, `somebody:${SECRET}@host:6379`, `http://somebody:${SECRET}@host`, `redis:${SECRET}@host`,
      `redis://somebody:${SECRET}%ff@host`, `redis://:${SECRET}@host?x`, `redis://:${SECRET}@ho st`, `//:${SECRET}@host`,
    ]) {
      refused('url', url)
    }
    refusal({ projectKey: 'phc_x', url: `redis://:${SECRET}@host`, password: SECRET, username: SECRET, role: 'no' })
    refused('password', [SECRET])
    refused('password', { toString: () => SECRET })
  })

  test('TLS that cannot be used, by the name of what is wrong', () => {
    const url = 'rediss://host'
    const cyclic = {}
    cyclic.tls = cyclic
    for (const tls of [
      null,
      7,
      true,
      SECRET,
      [],
      [SECRET],
      () => SECRET,
      Buffer.from(SECRET),
      new Map(),
      cyclic,
      { rejectUnauthorized: false },
    ]) {
      const { message } = refusal({ projectKey: 'phc_x', url, tls: tls instanceof Map ? { ca: tls } : tls })
      assert.match(message, /option 'tls[^ ]*' ?.*; allowed: /)
    }
    for (const name of ['ca', 'cert', 'key', 'serverName', 'insecureSkipVerify']) {
      for (const value of [null, 7, Buffer.from(SECRET), [SECRET], {}, SECRET, '']) {
        if (name === 'serverName' && value === SECRET) continue
        const { message } = refusal({ projectKey: 'phc_x', url, tls: { [name]: value } }, `tls.${name}: ${inspect(value)}`)
        assert.match(message, /^option 'tls\.(ca|cert|key|serverName|insecureSkipVerify)' /)
      }
    }
    assert.match(refusal({ projectKey: 'phc_x', url: 'redis://host', tls: {} }).message, /^option 'tls' has no effect with this URL/)
    const thrown = new Error('the vault is closed')
    const tls = {
      get key() {
        throw thrown
      },
    }
    assert.equal(refusal({ projectKey: 'phc_x', url, tls }).cause, thrown)
  })

  test('an option whose getter throws, with its error as the cause', () => {
    const thrown = new Error('the vault is closed')
    for (const name of ['projectKey', 'url', 'role', 'refreshIntervalMs', 'unknown']) {
      const options = { projectKey: 'phc_x', url: 'memory:' }
      Object.defineProperty(options, name, {
        enumerable: true,
        get() {
          throw thrown
        },
      })
      const error = refusal(options, `a getter of ${name}`)
      assert.equal(error.cause, thrown)
    }
    const hostile = new Proxy(
      {},
      {
        ownKeys() {
          throw thrown
        },
      },
    )
    refusal(hostile, 'a proxy')
  })
})

test('the constructor accepts everything that the documentation allows', () => {
  const year = 365 * 24 * 60 * 60 * 1000
  for (const options of [
    {},
    Object.fromEntries([...DURATIONS, ...TEXTS.slice(1)].map((name) => [name, undefined])),
    Object.fromEntries(DURATIONS.map((name) => [name, year])),
    { refreshIntervalMs: 100, leaseTtlMs: 100, maxAgeMs: 100, coldStartWaitMs: 0, connectTimeoutMs: 1, commandTimeoutMs: 1 },
    { keyPrefix: 'a:b/c.d-é日本', role: 'reader', whenUnavailable: 'stale', compression: 'zstd' },
    { url: 'redis://host', username: 'somebody', password: 'any thing {}"\'\\ ü', clientName: 'web-1' },
    { url: 'valkey://somebody:p%40ss@[::1]:6380/15' },
    { url: 'REDIS://HOST' },
    { url: 'rediss://host', tls: {} },
    { url: 'valkeys://host', tls: { ca: undefined, serverName: 'cache.example', insecureSkipVerify: false } },
    { url: 'redis+unix:///run/redis.sock?db=1' },
    { url: 'rediss-sentinel://a,b:1/2?master=m', sentinelUsername: 'somebody', sentinelPassword: 'any thing' },
    { url: 'redis-cluster://somebody:p%40ss@a,b:1' },
    { url: 'file:///var/cache/with%20blank' },
    { projectKey: 'x'.repeat(200) },
    { localCopy: undefined },
    { localCopy: true },
    { url: 'redis://host', localCopy: '/var/cache/with blank' },
  ]) {
    assert.ok(new FlagDefinitionCache({ projectKey: 'phc_x', url: 'memory:', ...options }))
  }
  class Settings {
    projectKey = 'phc_x'
    url = 'memory:'
  }
  assert.ok(new FlagDefinitionCache(new Settings()))
  assert.ok(new FlagDefinitionCache(Object.assign(Object.create(null), new Settings())))
  assert.ok(new FlagDefinitionCache(Object.freeze(new Settings())))
})
