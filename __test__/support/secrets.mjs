// Secrets that quoting and encodings change, and every form in which one could be told.

export const PASSWORD = 's3cret/p@ss wörd:%2F"'
export const ENCODED = encodeURIComponent(PASSWORD)
export const SECRET_KEY = 'phs_v3ry_s3cret_k3y'

/** Parts of it that survive quoting, and what encodings make of the whole. */
export const FORMS = [
  's3cret',
  'p@ss',
  'wörd',
  'p%40ss',
  'w%C3%B6rd',
  'w%c3%b6rd',
  ...['base64', 'base64url', 'hex', 'latin1'].map((encoding) => Buffer.from(PASSWORD).toString(encoding).replace(/=+$/, '')),
  SECRET_KEY,
]
