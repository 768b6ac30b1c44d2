// One clock for the harness: monotonic, and the same in every process of this machine.

/** Milliseconds, with fractions. Only differences mean anything. */
export const now = () => Number(process.hrtime.bigint()) / 1e6

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** Resolves with the first `event` of `emitter` for which `predicate` holds; rejects after `timeoutMs`. */
export function nextEvent(emitter, event, predicate = () => true, { timeoutMs = 10_000, what = event } = {}) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer)
      emitter.off(event, listener)
    }
    const listener = (value) => {
      if (!predicate(value)) return
      stop()
      resolve(value)
    }
    const timer = setTimeout(() => {
      stop()
      reject(new Error(`no ${what} within ${timeoutMs} ms`))
    }, timeoutMs)
    emitter.on(event, listener)
  })
}
