'use strict'

const { readFileSync } = require('node:fs')
const { readFile, stat } = require('node:fs/promises')

const { DEFAULT_HOST, DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS, hostOf, isSecretKey } = require('../api.js')
const { urlOfEnvironment } = require('../environment.js')
const { UsageError } = require('./args.js')

const MS = '<ms>'
const LOCAL_COPY = '<true|directory>'
/** In bytes: tokens have a few thousand. */
const LONGEST_PASSWORD = 65_536

/**
 * The options of every command, in the order of the help. `option`: its name in the class. `value`: the placeholder for its value;
 * absent for a switch. `env`: the environment variable that is used if the option is not given.
 */
const STORE_OPTIONS = {
  'project-key': { option: 'projectKey', value: '<phc_…>', env: 'POSTHOG_PROJECT_KEY', text: 'the project API key' },
  url: {
    option: 'url',
    value: '<url>',
    env: 'POSTHOG_FLAG_CACHE_URL, else REDIS_URL',
    text: 'the store; default: a directory of this user',
  },
  'key-prefix': { option: 'keyPrefix', value: '<text>', text: 'prefix of all keys; default: posthog:flags' },
  username: { option: 'username', value: '<user>', text: 'ACL user; default: the one in the URL' },
  'password-file': {
    option: 'credentials',
    value: '<path>',
    text: 'file with the password, read at each login (for passwords that change)',
  },
  'sentinel-username': { option: 'sentinelUsername', value: '<user>', text: 'ACL user of the sentinels' },
  'tls-ca': { option: 'tls.ca', value: '<file>', text: "PEM file: trusted CAs, instead of the system's" },
  'tls-cert': { option: 'tls.cert', value: '<file>', text: 'PEM file: client certificate' },
  'tls-key': { option: 'tls.key', value: '<file>', text: 'PEM file: private key of the client certificate' },
  'tls-server-name': { option: 'tls.serverName', value: '<name>', text: "name that the server's certificate must have" },
  'tls-insecure-skip-verify': { option: 'tls.insecureSkipVerify', text: 'accept any certificate; not for production' },
  'client-name': { option: 'clientName', value: '<text>', text: 'connection name in CLIENT LIST' },
  'connect-timeout-ms': { option: 'connectTimeoutMs', value: MS, text: 'timeout for connecting; default: 2000' },
  'command-timeout-ms': { option: 'commandTimeoutMs', value: MS, text: 'timeout while no data arrives; default: 1000' },
  'local-copy': { option: 'localCopy', value: LOCAL_COPY, text: "this host's copy of the definitions; doctor checks it, purge deletes it" },
}

/** The options that a command must share with the processes. */
const FLEET_OPTIONS = {
  'refresh-interval-ms': { option: 'refreshIntervalMs', value: MS, text: 'minimum time between two fetches; default: 30000' },
  'lease-ttl-ms': { option: 'leaseTtlMs', value: MS, text: 'duration of a lease; default: 1.5 × refresh-interval-ms' },
  'max-age-ms': { option: 'maxAgeMs', value: MS, text: 'expiry of the definitions after the last poll; default: 86400000' },
  'cold-start-wait-ms': { option: 'coldStartWaitMs', value: MS, text: 'wait for the first definitions; default: 5000' },
  compression: { option: 'compression', value: '<auto|zstd|none>', text: 'compression of the definitions; default: auto' },
  role: { option: 'role', value: '<auto|reader>', text: 'role whose permissions doctor checks; default: auto' },
}

const CLASS_OPTIONS = { ...STORE_OPTIONS, ...FLEET_OPTIONS }

/** Only from the environment, because every user of the machine can read the arguments of a process. */
const SECRETS = {
  POSTHOG_FLAG_CACHE_PASSWORD: { option: 'password', text: 'password; default: the one in the URL' },
  POSTHOG_FLAG_CACHE_SENTINEL_PASSWORD: { option: 'sentinelPassword', text: 'password of the sentinels' },
}

/** A password before the host, or a query parameter or fragment that names one. A file's path is neither. */
const URL_WITH_PASSWORD = /^(?!file:)([^:]*:.*:.*@|.*[?#&][^=]*(pass|pwd|auth|secret|token|credential)[^=]*=)/is

function checkUrl(url) {
  if (url === undefined || !URL_WITH_PASSWORD.test(url.trim())) return
  throw new UsageError(
    '--url contains a password, but every user of this machine can read the arguments of a process. Set the environment variable ' +
      'POSTHOG_FLAG_CACHE_URL or REDIS_URL to the whole URL. Or remove the password from --url, and set POSTHOG_FLAG_CACHE_PASSWORD ' +
      '(for sentinels, POSTHOG_FLAG_CACHE_SENTINEL_PASSWORD).',
  )
}

/** The variable that was read, by option, for messages. A process has one command line. */
const variables = new Map()

/** The options of the class, from the command line and the environment. */
function classOptions(values, env = process.env) {
  checkUrl(values.url)
  const options = { url: urlOfEnvironment(), projectKey: env.POSTHOG_PROJECT_KEY }
  const urlVariable = ['POSTHOG_FLAG_CACHE_URL', 'REDIS_URL'].find((name) => env[name] === options.url)
  if (options.url) variables.set('url', urlVariable)
  if (options.projectKey) variables.set('projectKey', 'POSTHOG_PROJECT_KEY')
  for (const [name, { option, value }] of Object.entries(CLASS_OPTIONS)) {
    if (values[name] === undefined) continue
    put(options, option, value === MS ? number(name, values[name]) : content(name, value, values[name]))
    variables.delete(option)
  }
  for (const [name, { option }] of Object.entries(SECRETS)) if (env[name]) put(options, option, env[name])
  // As the class does: a secret that is mounted as a file often ends with a line break.
  options.projectKey = options.projectKey?.trim() || undefined
  if (options.projectKey === undefined)
    throw new UsageError('the project key is missing. Use --project-key phc_…, or set the environment variable POSTHOG_PROJECT_KEY.')
  // It is part of key names, and is shown.
  if (/^ph[sx]_/.test(options.projectKey))
    throw new UsageError('a secret key (phs_… or phx_…) was given as the project key. Project keys begin with phc_.')
  return options
}

function put(options, path, value) {
  const [outer, inner] = path.split('.')
  if (inner) options[outer] = { ...options[outer], [inner]: value }
  else options[outer] = value
}

function number(name, text) {
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`--${name} needs a whole number of milliseconds`)
  return Number(text)
}

function content(name, value, given) {
  if (value === LOCAL_COPY && given === 'true') return true
  if (name === 'password-file') return () => passwordOf(given)
  if (value !== '<file>') return given
  try {
    return readFileSync(given, 'utf8')
  } catch ({ code }) {
    // Without its name, which may be the key itself by mistake.
    throw new UsageError(`cannot read the file of --${name} (${code}). Check its path and its permissions.`)
  }
}

/** The password in a file. Editors and `echo` end it with a line break. Errors do not contain the file name: it may be the password. */
async function passwordOf(file) {
  let password
  try {
    const stats = await stat(file)
    // Reading a pipe may block for ever.
    if (!stats.isFile()) throw new Error('it is not a regular file')
    if (stats.size > LONGEST_PASSWORD) throw new Error(`it is larger than ${LONGEST_PASSWORD} bytes`)
    const text = await readFile(file, 'utf8')
    password = text.replace(/\r?\n$/, '')
  } catch ({ code, message }) {
    throw new Error(`the file cannot be read (${code ?? message}). Check its path and its permissions.`)
  }
  if (password === '') throw new Error('the file is empty. Write the password to it.')
  return { password }
}

/**
 * The host, the key and the timeout for requests for the definitions. `place` is the option with PostHog's URL. No message contains any
 * part of the host or the key.
 */
function requestOptions(command, values, { place = 'host', env = process.env } = {}) {
  const secretKey = env.POSTHOG_SECRET_KEY?.trim()
  if (!secretKey)
    throw new UsageError(
      `${command} needs the secret key of the project. Set the environment variable POSTHOG_SECRET_KEY (phs_… or phx_…).`,
    )
  if (!isSecretKey(secretKey)) throw new UsageError('POSTHOG_SECRET_KEY is not a secret key (phs_… or phx_…). Check its value.')
  const host = hostOf(values[place] ?? (env.POSTHOG_HOST?.trim() || DEFAULT_HOST))
  if (!host) {
    throw new UsageError(
      `--${place} or POSTHOG_HOST is not a valid URL; allowed: a URL like https://eu.i.posthog.com, without user name, password or query`,
    )
  }
  return { secretKey, host, timeoutMs: requestTimeout(values['request-timeout-ms']) }
}

function requestTimeout(text = String(DEFAULT_TIMEOUT_MS)) {
  const timeoutMs = /^\d{1,15}$/.test(text) ? Number(text) : NaN
  if (timeoutMs >= 1 && timeoutMs <= MAX_TIMEOUT_MS) return timeoutMs
  throw new UsageError(`--request-timeout-ms must be a whole number of milliseconds, from 1 to ${MAX_TIMEOUT_MS}`)
}

/** An error of the class, with the names of command-line options and variables. */
function inOurWords(message) {
  return message.replace(/\boption '([\w.]+)'/g, (whole, option) => {
    const variable = variables.get(option) ?? Object.keys(SECRETS).find((name) => SECRETS[name].option === option)
    const flag = Object.keys(CLASS_OPTIONS).find((name) => CLASS_OPTIONS[name].option === option)
    return variable ?? (flag ? `--${flag}` : whole)
  })
}

module.exports = { STORE_OPTIONS, FLEET_OPTIONS, CLASS_OPTIONS, SECRETS, MS, classOptions, requestOptions, inOurWords, number }
