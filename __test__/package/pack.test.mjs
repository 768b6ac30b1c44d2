// What is published, and what its loader says where it cannot work.

import assert from 'node:assert/strict'
import { copyFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'

import { PLATFORMS } from '../../scripts/pack.mjs'
import { HOST, json, newProject, npm, publish, ROOT } from './support/consumer.mjs'
import { run } from './support/run.mjs'

const NAME = 'posthog-flag-cache'
const FILES = [
  'LICENSE',
  'README.md',
  'cli.js',
  'index.d.ts',
  'index.js',
  'lib/api.js',
  'lib/bill.js',
  'lib/cache.js',
  'lib/cli/args.js',
  'lib/cli/doctor.js',
  'lib/cli/get.js',
  'lib/cli/help.js',
  'lib/cli/main.js',
  'lib/cli/options.js',
  'lib/cli/output.js',
  'lib/cli/purge.js',
  'lib/cli/record.js',
  'lib/cli/refresh.js',
  'lib/cli/relay.js',
  'lib/cli/status.js',
  'lib/cli/store.js',
  'lib/cli/watch.js',
  'lib/client.js',
  'lib/cold-start.js',
  'lib/credentials.js',
  'lib/environment.js',
  'lib/error.js',
  'lib/fetch-failure.js',
  'lib/fetch.js',
  'lib/invalidation.js',
  'lib/listeners.js',
  'lib/metrics/measures.js',
  'lib/metrics/opentelemetry.js',
  'lib/metrics/prometheus.js',
  'lib/native.js',
  'lib/refusal.js',
  'lib/relay/answers.js',
  'lib/relay/counters.js',
  'lib/relay/definitions.js',
  'lib/relay/fetch.js',
  'lib/relay/headers.js',
  'lib/relay/negotiation.js',
  'lib/relay/relay.js',
  'lib/relay/server.js',
  'lib/relay/source.js',
  'lib/relay/upstream.js',
  'lib/relay/via.js',
  'lib/request.js',
  'lib/retry-after.js',
  'lib/secret.js',
  'lib/transfer.js',
  'lib/unobserved.js',
  'lib/webhook.js',
  'metrics.d.ts',
  'metrics.js',
  'native.js',
  'package.json',
  'relay.d.ts',
  'relay.js',
  'unsupported.js',
]

const published = await publish({ after })
const project = newProject({ after }, published.registry)
// With a cache of its own, or npm may know the tarballs of an earlier test.
await npm(project, 'install', NAME, `--cache=${join(project, '.npm')}`)

describe('the published packages', () => {
  test('contain exactly the files that are needed', () => {
    assert.deepEqual(published.root.files, FILES)
    assert.deepEqual(published.host.files, ['LICENSE', 'README.md', 'THIRD_PARTY_LICENSES', 'package.json', `${NAME}.${HOST}.node`])
  })

  test('are less than 5.5 MB together once installed', () => {
    const bytes = published.root.unpackedSize + published.host.unpackedSize
    assert.ok(bytes < 5_500_000, `${bytes} bytes`)
  })

  test('depend on nothing but the binary of the platform, of the same version, and run no script', () => {
    const { manifest } = published.root
    assert.deepEqual(manifest.optionalDependencies, Object.fromEntries(PLATFORMS.map((name) => [`${NAME}-${name}`, manifest.version])))
    for (const { manifest } of published.packages) {
      const { dependencies, scripts, devDependencies, bundleDependencies } = manifest
      assert.deepEqual([dependencies, scripts, devDependencies, bundleDependencies], Array(4).fill(undefined), manifest.name)
    }
  })

  test('cover the platforms that napi-rs is told to build, each named by its os, cpu and libc', () => {
    const { napi, engines, license } = json(ROOT, 'package.json')
    assert.equal(PLATFORMS.length, napi.targets.length)
    for (const platform of PLATFORMS) {
      const [os, cpu, abi] = platform.split('-')
      const libc = { gnu: ['glibc'], musl: ['musl'] }[abi]
      const manifest = json(ROOT, 'npm', platform, 'package.json')
      const { os: oses, cpu: cpus, libc: libcs, main } = manifest
      assert.deepEqual([oses, cpus, libcs, main], [[os], [cpu], libc, `${NAME}.${platform}.node`])
      assert.deepEqual([manifest.engines, manifest.license], [engines, license])
    }
  })
})

describe('the packages, installed with npm,', () => {
  /** Runs CommonJS in the project; its output, trimmed. */
  const node = async (source, { env, flags = [] } = {}) =>
    (await run(process.execPath, [...flags, '-e', source], { cwd: project, env })).trim()
  const LOAD = `try { require('${NAME}'); console.log('loaded') } catch (error) { console.log(String(error)) }`

  test('bring the binary of this platform and no other', () => {
    assert.deepEqual([...new Set(published.registry.downloads)].sort(), [NAME, `${NAME}-${HOST}`])
    const { packages } = json(project, 'node_modules/.package-lock.json')
    assert.deepEqual(Object.keys(packages).sort(), [`node_modules/${NAME}`, `node_modules/${NAME}-${HOST}`])
  })

  test('load', async () => assert.equal(await node(LOAD), 'loaded'))

  test('bring the command, which npx runs', async () => {
    const command = join(project, 'node_modules/.bin', NAME)
    assert.equal((await run(command, ['--version'], { cwd: project })).trim(), published.root.manifest.version)
    assert.match(await run(command, ['doctor', '--project-key', 'phc_x', '--url', 'memory:'], { cwd: project }), /^warning +store /)
  })

  test('export their manifest, and no file that is not named', async () => {
    const source = `
      console.log(require('${NAME}/package.json').version)
      try { require('${NAME}/native.js') } catch (error) { console.log(error.code) }
    `
    assert.equal(await node(source), `${published.root.manifest.version}\nERR_PACKAGE_PATH_NOT_EXPORTED`)
  })

  test('export the metrics, to ES modules too', async () => {
    const source = `import('${NAME}/metrics').then(({ prometheus }) => process.stdout.write(prometheus().slice(-6)))`
    assert.equal(await node(source), '# EOF')
  })

  for (const condition of ['edge-light', 'workerd', 'browser']) {
    test(`can be imported under the condition ${condition}, where a new cache says what to do`, async () => {
      const source = `
        import('${NAME}').then(({ FlagDefinitionCache, FlagCacheError }) => {
          try { new FlagDefinitionCache({ projectKey: 'phc_x' }) } catch (error) {
            console.log(error instanceof FlagCacheError, String(error))
          }
        })
      `
      const said = await node(source, { flags: ['-C', condition] })
      assert.match(said, /^true FlagCacheError \[ERR_FLAG_CACHE_RUNTIME\]: .*on the server only/)
    })
  }

  test('on a platform without a binary name it, and those that have one', async () => {
    const said = await node(`Object.defineProperty(process, 'platform', { value: 'sunos' }); ${LOAD}`)
    assert.match(said, /^FlagCacheError \[ERR_FLAG_CACHE_NATIVE\]: posthog-flag-cache has no binary for sunos x64, only for /)
    for (const platform of PLATFORMS) assert.ok(said.includes(platform), platform)
  })

  test('with NAPI_RS_NATIVE_LIBRARY_PATH take that file, or fail', async () => {
    const binary = join(project, `node_modules/${NAME}-${HOST}/${NAME}.${HOST}.node`)
    assert.equal(await node(LOAD, { env: { NAPI_RS_NATIVE_LIBRARY_PATH: binary } }), 'loaded')
    const said = await node(LOAD, { env: { NAPI_RS_NATIVE_LIBRARY_PATH: '/nowhere.node' } })
    assert.match(
      said,
      /\[ERR_FLAG_CACHE_NATIVE\]: cannot load \/nowhere\.node, which NAPI_RS_NATIVE_LIBRARY_PATH names, .* installed binary\.$/,
    )
  })

  test('with a binary that does not load say why', async () => {
    const binary = join(project, `node_modules/${NAME}-${HOST}/${NAME}.${HOST}.node`)
    copyFileSync(binary, `${binary}.kept`)
    writeFileSync(binary, 'of another machine')
    try {
      assert.match(await node(LOAD), /\[ERR_FLAG_CACHE_NATIVE\]: the binary for linux .* cannot be loaded: .*file too short/)
    } finally {
      copyFileSync(`${binary}.kept`, binary)
      rmSync(`${binary}.kept`)
    }
    assert.ok(statSync(binary).size > 1_000_000)
  })

  test('where addons are not allowed name the option that allows them', async () => {
    assert.match(await node(LOAD, { flags: ['--no-addons'] }), /\[ERR_FLAG_CACHE_NATIVE\]: .* --allow-addons \(beside --permission\)/)
  })

  test('without optional dependencies name the package that is missing, the platform and the fix', async () => {
    await npm(project, 'ci', '--omit=optional', `--cache=${join(project, '.npm')}`)
    const said = await node(LOAD)
    const { glibcVersionRuntime } = process.report.getReport().header
    assert.ok(said.includes(`${NAME}-${HOST}, with the binary for linux ${process.arch} with glibc ${glibcVersionRuntime}, is not`), said)
    assert.match(said, /\[ERR_FLAG_CACHE_NATIVE\].*with optional dependencies/)
  })
})
