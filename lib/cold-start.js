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

/** Resolves as `request(signal)` does, or with `undefined` if the client has definitions before that. */
async function requestUnlessFound({ native, client, attempt }, request, signal) {
  const { held } = client
  const control = new AbortController()
  // Not `AbortSignal.any()`, which takes only Node.js's own. The listener stays: the rest of a body may be aborted, too.
  onAbort(signal, () => control.abort(signal.reason))
  const answer = request(control.signal)
  const arrival = attempt(() => native.arrival(held.version)).then((found) => make(held, found))
  try {
    const made = await Promise.race([answer.then(() => undefined), arrival])
    if (!made) return await answer
    client.held = made
    answer.catch(() => {})
    control.abort()
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
  return new Promise((resolve, reject) => {
    const end = onAbort(signal, () => reject(signal.reason))
    work.then(resolve, reject).finally(end)
  })
}

/** Calls the listener when the signal, if there is one, is aborted; returns what ends that. */
function onAbort(signal, listener) {
  if (signal?.aborted) listener()
  else signal?.addEventListener('abort', listener)
  return () => signal?.removeEventListener('abort', listener)
}

module.exports = { pollAgain, requestUnlessFound }
