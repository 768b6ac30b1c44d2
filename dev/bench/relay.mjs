// `npm run bench:relay`: requests per second that a relay serves on one core, beside nginx with the same bytes in a file.

import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

import { begin, progress, refuse } from './command.mjs'
import { largeDefinitions } from './large-definitions.mjs'
import { markdown } from './perf/report.mjs'
import { CLI, environment } from '../harness/cli.mjs'
import { startPostHogApi } from '../harness/posthog-api.mjs'
import { freePort } from '../harness/redis.mjs'

const BYTES = 500_000
const SECONDS = 8
const CONNECTIONS = 64
/** Servers on one core, clients on another. */
const [SERVER_CORE, CLIENT_CORE] = ['0', '1']
const TITLES = ['request', 'body', 'relay', 'nginx']

begin('npm run bench:relay', {})
for (const [command, debian] of Object.entries({ nginx: 'nginx-light', wrk: 'wrk', taskset: 'util-linux' })) {
  if (spawnSync(command, ['-v']).error) refuse(`There is no ${command} on PATH (Debian: apt-get install ${debian}).`)
}

/** Definitions of so many bytes; `isRandom`: that do not compress, so that the compressed body is about as long. */
function definitionsOf(isRandom) {
  if (!isRandom) return largeDefinitions({ bytes: BYTES })
  const flags = Array.from({ length: Math.ceil((BYTES * 4) / 3 / 1_100) }, (_, id) => ({
    id,
    key: `flag-${id}`,
    // Of base64, gzip saves a quarter.
    name: randomBytes(750).toString('base64'),
    active: true,
    filters: { groups: [{ properties: [], rollout_percentage: 100 }] },
  }))
  return { flags, group_type_mapping: {}, cohorts: {} }
}

async function startServer(t, args, options) {
  const child = spawn('taskset', ['-c', SERVER_CORE, ...args], { stdio: ['ignore', 'pipe', 'inherit'], ...options })
  t.push(() => child.kill('SIGTERM'))
  return child
}

async function startRelay(ends, api) {
  const port = await freePort()
  const env = { ...process.env, ...environment({ url: 'memory:', api }) }
  const child = await startServer(ends, [process.execPath, CLI, 'relay', '--port', String(port)], { env })
  await once(child.stdout, 'data')
  return `http://127.0.0.1:${port}/flags/definitions?token=${api.projectKey}&send_cohorts`
}

/** One worker, which finds the compressed bytes beside the file. */
async function startNginx(ends, folder) {
  const port = await freePort()
  writeFileSync(
    join(folder, 'nginx.conf'),
    // Its worker would be another user, who cannot read the folder.
    `${process.getuid() === 0 ? 'user root;' : ''} worker_processes 1; daemon off; pid ${folder}/pid; error_log ${folder}/error.log;
     events { worker_connections 1024; }
     http { access_log off; sendfile on; gzip_static on; keepalive_requests 1000000000; default_type application/json;
       ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
       server { listen 127.0.0.1:${port}; root ${folder}; } }`,
  )
  await startServer(ends, ['nginx', '-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'error.log')])
  const url = `http://127.0.0.1:${port}/definitions.json`
  while (!(await fetch(url).catch(() => undefined))?.ok) await new Promise((resolve) => setTimeout(resolve, 50))
  return url
}

/** Requests per second, as wrk counts them; every one must be answered with `status`. */
async function measure(url, headers, status) {
  const { status: found } = await fetch(url, { headers })
  if (found !== status) throw new Error(`${url} answered ${found}, not ${status}`)
  const given = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
  const args = ['-c', CLIENT_CORE, 'wrk', '-t', '1', '-c', String(CONNECTIONS), '-d', `${SECONDS}s`, ...given, url]
  const child = spawn('taskset', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const text = (await child.stdout.toArray()).join('')
  if (/Non-2xx|Socket errors/.test(text) && status === 200) throw new Error(text)
  return Number(/Requests\/sec: +([\d.]+)/.exec(text)[1])
}

const ends = []
const rows = []
try {
  for (const isRandom of [false, true]) {
    const api = await startPostHogApi()
    ends.push(() => api.close())
    const text = JSON.stringify(definitionsOf(isRandom))
    api.edit((data) => Object.assign(data, JSON.parse(text)))
    const folder = mkdtempSync(join(tmpdir(), 'flag-cache-bench-'))
    ends.push(() => rmSync(folder, { recursive: true, force: true }))
    const relay = await startRelay(ends, api)
    const own = { authorization: `Bearer ${api.secretKey}`, 'accept-encoding': 'gzip' }
    const response = await fetch(relay, { headers: own })
    const whole = Buffer.from(await response.arrayBuffer())
    const raw = await compressed(relay, own)
    if (!gunzipSync(raw).equals(whole)) throw new Error('the relay does not serve what it was given')
    writeFileSync(join(folder, 'definitions.json'), whole)
    writeFileSync(join(folder, 'definitions.json.gz'), raw)
    const nginx = await startNginx(ends, folder)
    const known = async (url, headers) => ({ ...headers, 'if-none-match': (await fetch(url, { headers })).headers.get('etag') })
    const plain = { 'accept-encoding': 'gzip' }
    const kilobytes = (length) => `${Math.round(length / 1_000)} KB`
    const row = async (name, length, status, ofRelay, ofNginx) => {
      progress(name, kilobytes(length))
      rows.push([name, kilobytes(length), await measure(relay, ofRelay, status), await measure(nginx, ofNginx, status)])
    }
    if (!isRandom) await row('304', 0, 304, await known(relay, own), await known(nginx, plain))
    await row('200, gzip', raw.length, 200, own, plain)
    if (!isRandom)
      await row('200, uncompressed', whole.length, 200, { ...own, 'accept-encoding': 'identity' }, { 'accept-encoding': 'identity' })
  }
  const shown = rows.map((row) => row.map((value) => (typeof value === 'number' ? Math.round(value).toLocaleString('en') : value)))
  console.log(markdown([TITLES, ...shown], 1))
} finally {
  for (const end of ends.reverse()) await end()
}

/** The body as it comes over the network. */
async function compressed(url, headers) {
  const [response] = await once(request(url, { headers }).end(), 'response')
  return Buffer.concat(await response.toArray())
}
