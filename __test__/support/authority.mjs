// A certificate authority of the test's own, made by `openssl`.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { temporaryDirectory } from './stores.mjs'

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
const LEAF = ['-addext', 'basicConstraints=critical,CA:FALSE', '-addext', 'subjectAltName=IP:127.0.0.1']

/** `ca`: its own certificate; `identity(name)`: `{ cert, key }` for 127.0.0.1; all of it PEM, in files that go with the test `t`. */
export function startAuthority(t, name = 'authority') {
  const directory = temporaryDirectory(t)
  const read = (file) => readFileSync(file, 'utf8')
  const make = (name, ...options) => {
    const files = { cert: join(directory, `${name}.pem`), key: join(directory, `${name}.key`) }
    openssl('req', '-x509', '-days', '1', ...KEY, '-keyout', files.key, '-out', files.cert, '-subj', `/CN=${name}`, ...options)
    return files
  }
  const own = make(name)
  const signed = (name) => make(name, '-CA', own.cert, '-CAkey', own.key, ...LEAF)
  return {
    ca: read(own.cert),
    identity(name) {
      const { cert, key } = signed(name)
      return { cert: read(cert), key: read(key) }
    },
    /** The options of a redis-server that speaks nothing but TLS, and only with those who show a certificate of this authority. */
    serverArguments() {
      const { cert, key } = signed('server')
      const files = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', own.cert]
      return ['--port', '0', '--tls-port', '{port}', '--tls-auth-clients', 'yes', ...files]
    },
  }
}

function openssl(...args) {
  const { status, error, stderr } = spawnSync('openssl', args, { encoding: 'utf8' })
  if (error || status !== 0) throw new Error(`openssl ${args[0]}: ${error?.message ?? stderr}`)
}
