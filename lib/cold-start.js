'use strict'

const { assemble } = require('./transfer.js')

/**
 * The request of a client without definitions. Definitions that reach the store meanwhile answer it as well. The first argument is the
 * context of `shareEtag()`.
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

/** Resolves like `request(signal)`, or with `undefined` if the client gets definitions earlier. */
async function requestUnlessFound({ native, client, attempt }, request, signal) {
  const { held } = client
  const control = new AbortController()
  // Not `AbortSignal.any()`, which accepts only Node.js's own signals. The listener stays, because the rest of a body may be aborted too.
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

/** The definitions from native code's result, for a client that had `held`; `undefined` if the result contains none. */
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

/** Calls the listener when the signal, if there is one, is aborted. Returns a function that removes the listener. */
function onAbort(signal, listener) {
  if (signal?.aborted) listener()
  else signal?.addEventListener('abort', listener)
  return () => signal?.removeEventListener('abort', listener)
}

module.exports = { pollAgain, requestUnlessFound }
