// The codes of errors that many faults tell.

export const NOBODY = []
export const LOST = ['ERR_FLAG_CACHE_UNAVAILABLE', 'ERR_FLAG_CACHE_TIMEOUT']
export const REFUSED = ['ERR_FLAG_CACHE_AUTH']
