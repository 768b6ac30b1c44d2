'use strict'

const { setImmediate: turn } = require('node:timers/promises')

const { NativeText } = require('./native.js')

/** So many characters are copied in a fraction of a millisecond. */
const PART = 128 * 1024

/** Hands a string over to native code, in parts between which the event loop is free. */
async function toNative(string) {
  const text = new NativeText()
  for (let at = 0; at < string.length; at += PART) {
    if (at > 0) await turn()
    text.pushString(string.slice(at, at + PART))
  }
  return text
}

module.exports = { toNative }
