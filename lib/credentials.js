'use strict'

const { NativeCredentials } = require('./native.js')

/** By function: caches with the same one share a connection. */
const known = new WeakMap()

/** The option `credentials` as native code takes it: what stands for the function, and what calls it. */
function toNativeCredentials(credentials) {
  if (typeof credentials !== 'function') return []
  let native = known.get(credentials)
  if (!native) {
    native = new NativeCredentials()
    known.set(credentials, native)
  }
  return [native, (login) => answer(credentials, login)]
}

async function answer(credentials, login) {
  // While the event loop was blocked, the login may have been given up, and others too.
  if (!login.isAwaited) return
  try {
    login.grant(fieldsOf(await credentials()))
  } catch (cause) {
    login.refuse(textOf(cause))
  }
}

/** Also those that a class defines. */
function fieldsOf(returned) {
  if (typeof returned !== 'object' || returned === null || Array.isArray(returned)) return returned
  const { username, password, expiresAt, tls } = returned
  return { ...returned, username, password, expiresAt, tls }
}

/** Anything can be thrown. */
function textOf(cause) {
  try {
    return String(cause?.message ?? cause)
  } catch {
    return 'the function failed'
  }
}

module.exports = { toNativeCredentials }
