'use strict'

const { assemble } = require('./transfer.js')

/**
 * What a client without definitions does besides requesting them: those that reach the store meanwhile will do as well. The
 * first argument is the context of `shareEtag()`.
 */

/** Waits once more for the process that fetches. Resolves with whether the client has definitions now. */
async function pollAgain({ native, client, attempt }, signal) {
  const { held } = client
  const found = await unlessAborted(
    attempt(() => native.pollAgain(held.version)),
    signal,
  )
  const made = await make(held, found)
  if (made) client.held = made
  return made !== undefined
}

/** Resolves with the response to `request(signal)`, or with `undefined` if the client has definitions before that. */
async function requestUnlessFound({ native, client, attempt }, request, signal) {
  const { held } = client
  const abandon = new AbortController()
  const signals = [abandon.signal, ...(signal ? [signal] : [])]
  const response = (async () => request(AbortSignal.any(signals)))()
  const arrival = attempt(() => native.arrival(held.version)).then((found) => make(held, found))
  try {
    const made = await Promise.race([response.then(() => undefined), arrival])
    if (!made) return await response
    client.held = made
    response.catch(() => {})
    abandon.abort()
  } finally {
    native.requestEnded()
  }
}

/** What a client that had `held` makes of what native code found; `undefined` if that holds no definitions. */
async function make(held, found) {
  if (!found) return undefined
  return found === true ? held : assemble(found, held)
}

function unlessAborted(work, signal) {
  signal?.throwIfAborted()
  if (!signal) return work
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort)
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

module.exports = { pollAgain, requestUnlessFound }
