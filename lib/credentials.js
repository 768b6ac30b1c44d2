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
  try {
    login.grant(await credentials())
  } catch (cause) {
    login.refuse(textOf(cause))
  }
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
