'use strict'

const { NativeCredentials } = require('./native.js')

/** By function, because caches with the same function share a connection. */
const known = new WeakMap()

/** The option `credentials` for native code: an object that represents the function, and a function that calls it. */
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
  // While the event loop was blocked, this login may have timed out, and others too.
  if (!login.isAwaited) return
  try {
    login.grant(fieldsOf(await credentials()))
  } catch (cause) {
    login.refuse(textOf(cause))
  }
}

/** Includes properties that a class defines. */
function fieldsOf(returned) {
  if (typeof returned !== 'object' || returned === null || Array.isArray(returned)) return returned
  const { username, password, expiresAt, tls } = returned
  return { ...returned, username, password, expiresAt, tls }
}

/** Functions can throw values that are not errors. */
function textOf(cause) {
  try {
    return String(cause?.message ?? cause)
  } catch {
    return 'the function threw a value that cannot be shown'
  }
}

module.exports = { toNativeCredentials }
