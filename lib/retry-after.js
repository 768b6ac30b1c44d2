'use strict'

/** Both forms of RFC 9110, 10.2.3: seconds, or a date. */
function retryAfterMs(headers) {
  const value = headers?.get('retry-after')
  if (!value) return undefined
  // The server's clock, because this process's own may be wrong.
  const now = Date.parse(headers.get('date')) || Date.now()
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now
  return ms > 0 ? Math.min(ms, Number.MAX_SAFE_INTEGER) : undefined
}

module.exports = { retryAfterMs }
