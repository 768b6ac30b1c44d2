// doctor: what it says of a store, and what to do. (tests/it/topologies/doctor.rs has TLS, Sentinel, clusters and each right.)

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'

import { start } from '../support/child.mjs'
import { cli, environment } from '../support/cli.mjs'
import { openCache, publish } from '../support/client.mjs'
import { closedPort, newProjectKey, redisFor, STORES, temporaryDirectory } from '../support/stores.mjs'

const UID = process.geteuid?.()
const unix = { skip: UID === undefined && 'there are no user ids here' }
const DATA = { flags: [{ key: 'a' }] }

/** Examines; what it finds by check. */
async function examine(env, args = []) {
  const { code, stdout, stderr } = await cli(['doctor', '--json', ...args], { env })
  assert.equal(stderr, '')
  const { isUsable, findings } = JSON.parse(stdout)
  assert.equal(code, isUsable ? 0 : 1)
  for (const finding of findings) {
    assert.deepEqual(Object.keys(finding).sort(), ['advice', 'check', 'message', 'verdict'])
    assert.equal(finding.advice !== null, ['warning', 'error'].includes(finding.verdict), JSON.stringify(finding))
  }
  return { isUsable, ...Object.fromEntries(findings.map((finding) => [finding.check, finding])) }
}

const troubles = ({ isUsable, ...findings }) =>
  Object.values(findings)
    .filter(({ verdict }) => verdict !== 'ok')
    .map(({ check }) => check)

describe('doctor over Redis', () => {
  const project = (url) => environment({ url, projectKey: newProjectKey() })

  test('finds no error in a valid one, and prints a line for each check', async (t) => {
    const { url } = await redisFor(t)
    const { code, stdout, stderr } = await cli(['doctor'], { env: project(url) })
    assert.deepEqual([code, stderr], [0, ''])
    const lines = stdout.trimEnd().split('\n')
    assert.deepEqual(lines.splice(-2), ['', '0 errors, 0 warnings'])
    assert.deepEqual(
      lines.filter((line) => !line.startsWith('ok  ')),
      [],
    )
    assert.match(stdout, /^ok +server +redis \d+\.\d+/m)
    assert.match(stdout, /^ok +definitions +none yet/m)
  })

  test('shows the stored size, and how long it takes to load', async (t) => {
    const { url } = await redisFor(t)
    const env = project(url)
    await publish(openCache(t, { url, projectKey: env.POSTHOG_PROJECT_KEY }), DATA)
    assert.match((await examine(env)).definitions.message, /^flags: 1, 23 bytes of JSON, 23 bytes in the store, loaded in [\d.]+ ms$/)
  })

  test('shows an error, and below it what to do', async (t) => {
    const { url } = await redisFor(t, { args: ['--requirepass', 'another'] })
    const { code, stdout } = await cli(['doctor'], { env: { ...project(url), POSTHOG_FLAG_CACHE_PASSWORD: 'wr0ng' } })
    assert.equal(code, 1)
    assert.match(stdout, /^error +login +redis:.*WRONGPASS.*\n +→ Check the user name and the password/m)
    assert.match(stdout, /^not checked +definitions/m)
    assert.match(stdout, /\n1 error, 0 warnings\n$/)
    assert.doesNotMatch(stdout, /wr0ng/)
  })

  test('warns of an eviction policy that may drop the definitions, and that is no failure', async (t) => {
    const { url } = await redisFor(t, { args: ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'] })
    const found = await examine(project(url))
    assert.deepEqual([found.isUsable, troubles(found)], [true, ['eviction']])
    assert.match(found.eviction.message, /^allkeys-lru \(\d+ of 104857600 bytes used\)/)
  })

  test('needs no more than the documented permissions, and names one that is missing', async (t) => {
    const server = await redisFor(t)
    const line = readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8').match(/^ACL SETUSER flags .*$/m)[0]
    await server.client().call(...line.split(' '))
    const env = { ...project(server.url), POSTHOG_FLAG_CACHE_PASSWORD: 'password' }
    const found = await examine(env, ['--username', 'flags'])
    assert.deepEqual([found.isUsable, troubles(found)], [true, ['eviction']])
    assert.equal(found.eviction.verdict, 'unchecked')
    await server.client().call('ACL', 'SETUSER', 'flags', '-hset', '-del')
    const less = await examine(env, ['--username', 'flags'])
    assert.deepEqual([less.isUsable, less.rights.advice], [false, 'Run: ACL SETUSER <user> +hset +del'])
    assert.equal((await examine(env, ['--username', 'flags', '--role', 'reader'])).isUsable, true)
  })

  test('a replica is an error, except for a reader', async (t) => {
    const master = await redisFor(t)
    const replica = await redisFor(t, { args: ['--replicaof', '127.0.0.1', master.port] })
    const found = await examine(project(replica.url))
    assert.equal(found.isUsable, false)
    assert.match(found.role.advice, /^Use the address of the primary/)
    assert.equal((await examine(project(replica.url), ['--role', 'reader'])).isUsable, true)
  })

  test('if nothing listens there it says so at once', async () => {
    const found = await examine(project(`redis://127.0.0.1:${await closedPort()}`))
    assert.deepEqual(troubles(found), ['connection', 'login', 'definitions'])
    assert.match(found.connection.advice, /Nothing listens there/)
  })

  test('corrupt definitions are an error', async (t) => {
    const store = await STORES.redis()
    t.after(() => store.close())
    const env = project(store.url)
    await publish(openCache(t, { url: store.url, projectKey: env.POSTHOG_PROJECT_KEY }), DATA)
    await store.damage(env.POSTHOG_PROJECT_KEY, Buffer.from('{"flags":[]}'))
    const found = await examine(env)
    assert.deepEqual(troubles(found), ['definitions'])
    assert.match(found.definitions.message, /hash is not their version/)
  })

  test('fetches that fail are warned of, with the reason that the store has', async (t) => {
    const store = await STORES.redis()
    t.after(() => store.close())
    for (const [field, message] of [
      ['refused_at', /refuses the definitions \(402\)/],
      ['outdated_at', /could not take the newest definitions/],
      ['failures', /^failed in a row: \d+/],
    ]) {
      const env = project(store.url)
      await publish(openCache(t, { url: store.url, projectKey: env.POSTHOG_PROJECT_KEY }), DATA)
      const retryAt = String(Date.now() + 60_000)
      await store.client.hset(store.stateKey(env.POSTHOG_PROJECT_KEY), { [field]: '7', retry_at: retryAt })
      const found = await examine(env)
      assert.deepEqual([found.isUsable, troubles(found)], [true, ['fetches']])
      assert.match(found.fetches.message, message)
      assert.match(found.fetches.message, /; no process fetches for (59|60) s$/)
    }
  })
})

describe('doctor over a directory', () => {
  function place(t) {
    const directory = temporaryDirectory(t)
    const projectKey = newProjectKey()
    return {
      directory,
      path: join(directory, 'posthog%3Aflags', projectKey),
      projectKey,
      url: pathToFileURL(directory).href,
      env: environment({ url: pathToFileURL(directory).href, projectKey }),
    }
  }

  test('one that does not exist yet is ok, and is not created', async (t) => {
    const { directory, env } = place(t)
    const found = await examine(env)
    assert.deepEqual(troubles(found), [])
    assert.match(found.directory.message, /does not exist yet/)
    assert.deepEqual(readdirSync(directory), [])
  })

  test('one in use is ok, and is not changed', async (t) => {
    const { url, projectKey, path, env } = place(t)
    await publish(openCache(t, { url, projectKey }), DATA)
    const before = readdirSync(path)
    const found = await examine(env)
    assert.deepEqual(troubles(found), [])
    assert.equal(found.owner.message, 'this user, mode 0700')
    assert.equal(found.lock.message, 'can be acquired')
    assert.deepEqual(readdirSync(path), before)
  })

  test('one that other users can write is warned of', unix, async (t) => {
    const { url, projectKey, path, env } = place(t)
    await publish(openCache(t, { url, projectKey }), DATA)
    chmodSync(path, 0o777)
    const found = await examine(env)
    assert.deepEqual([found.isUsable, troubles(found), found.owner.advice], [true, ['owner'], `Run: chmod 700 '${path}'`])
  })

  test('one below a directory that other users can write is warned of, unless its sticky bit protects what is in it', unix, async (t) => {
    const { directory, projectKey } = place(t)
    const below = join(directory, 'below')
    const env = environment({ url: pathToFileURL(below).href, projectKey })
    chmodSync(directory, 0o777)
    for (const exists of [false, true]) {
      if (exists) mkdirSync(below)
      const found = await examine(env)
      assert.deepEqual([found.isUsable, troubles(found)], [true, ['path']])
      assert.equal(found.path.message, `${realpathSync(directory)} has mode 0777, so another user can replace the definitions`)
      assert.equal(found.path.advice, `Use another directory, with POSTHOG_FLAG_CACHE_URL, or run: chmod go-w '${realpathSync(directory)}'`)
    }
    chmodSync(directory, 0o1777)
    assert.deepEqual(troubles(await examine(env)), [])
  })

  test(
    'one that is reached by a link is warned of where other users can replace the link, or what is above its target',
    unix,
    async (t) => {
      const [{ directory, projectKey }, elsewhere] = [place(t), temporaryDirectory(t)]
      const [open, link] = [join(elsewhere, 'open'), join(directory, 'link')]
      mkdirSync(join(open, 'target'), { recursive: true })
      symlinkSync(join(open, 'target'), link)
      const env = environment({ url: pathToFileURL(link).href, projectKey })
      assert.deepEqual(troubles(await examine(env)), [])
      for (const path of [open, directory]) {
        chmodSync(path, 0o777)
        const { path: found } = await examine(env)
        assert.deepEqual([found.verdict, found.message.startsWith(`${realpathSync(path)} has mode 0777`)], ['warning', true])
        chmodSync(path, 0o755)
      }
    },
  )

  test('one below a directory of another user is warned of', { skip: UID !== 0 && 'only root can give a directory away' }, async (t) => {
    const { directory, env } = place(t)
    chownSync(directory, 65534, 65534)
    const found = await examine(env)
    assert.deepEqual(troubles(found), ['path'])
    assert.match(found.path.message, /belongs to user 65534, so another user can replace/)
    assert.match(found.path.advice, /^Use another directory, with POSTHOG_FLAG_CACHE_URL, or run: chown root '/)
  })

  test('one that is a link within the directory is an error, because it is not followed', unix, async (t) => {
    const [{ directory, env }, elsewhere] = [place(t), temporaryDirectory(t)]
    symlinkSync(elsewhere, join(directory, 'posthog%3Aflags'))
    const found = await examine(env)
    assert.deepEqual([found.isUsable, troubles(found)], [false, ['directory', 'definitions']])
    assert.match(found.directory.message, /is a symbolic link below .* \(links there are not followed\)/)
  })

  test('one that is a link to nowhere is an error', unix, async (t) => {
    const { directory, projectKey } = place(t)
    const link = join(directory, 'link')
    symlinkSync(join(directory, 'nowhere'), link)
    const found = await examine(environment({ url: pathToFileURL(link).href, projectKey }))
    assert.deepEqual([found.isUsable, troubles(found)], [false, ['directory', 'definitions']])
    assert.match(found.directory.message, /link is a link to a directory that does not exist/)
  })

  test('one on a full disk is an error', { skip: UID !== 0 && 'only root can mount a small disk' }, async (t) => {
    const { directory, env } = place(t)
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', directory])
    if (mounted.status !== 0) return t.skip('this machine mounts nothing')
    try {
      const found = await examine(env)
      assert.deepEqual(
        troubles(found).filter((check) => check !== 'path'),
        ['access', 'definitions'],
      )
      assert.match(found.access.message, /^there is no room for 262144 bytes in /)
      assert.deepEqual(readdirSync(directory), [])
    } finally {
      spawnSync('umount', [directory])
    }
  })

  test('a default directory that another user prepared is an error', unix, async (t) => {
    const [TMPDIR, elsewhere] = [temporaryDirectory(t), temporaryDirectory(t)]
    symlinkSync(elsewhere, join(TMPDIR, `posthog-flag-cache-${UID}`))
    const found = await examine({ TMPDIR, POSTHOG_PROJECT_KEY: newProjectKey() })
    assert.equal(found.owner.verdict, 'error')
    assert.match(found.owner.message, /belongs to another user/)
  })

  test('one that cannot be written is an error', async (t) => {
    const { directory, projectKey } = place(t)
    const file = join(directory, 'file')
    writeFileSync(file, '')
    const found = await examine(environment({ url: pathToFileURL(join(file, 'below')).href, projectKey }))
    assert.equal(found.isUsable, false)
  })

  test('a lock that another process keeps is an error', { skip: process.platform !== 'linux' && 'flock(1) is of Linux' }, async (t) => {
    const { path, env } = place(t)
    mkdirSync(path, { recursive: true, mode: 0o700 })
    closeSync(openSync(join(path, 'lock'), 'a'))
    const { child, line } = start('flock', [join(path, 'lock'), '-c', 'echo held; exec cat'], { stdin: 'pipe' })
    t.after(() => child.stdin.end())
    await line()
    const found = await examine(env)
    assert.deepEqual([found.lock.verdict, found.lock.message], ['error', 'another process keeps it locked'])
  })
})

test('memory: is a warning, because no other process shares it', async () => {
  const found = await examine(environment({ url: 'memory:', projectKey: newProjectKey() }))
  assert.deepEqual([found.isUsable, troubles(found)], [true, ['store']])
})
