'use strict'

const { createHash } = require('node:crypto')
const { promisify } = require('node:util')
const zlib = require('node:zlib')

/** The names of the same field in different versions of posthog-node. PostHog's API uses only the first name of each. */
const NAMES = {
  group_type_mapping: 'groupTypeMapping',
  minimal_flag_called_events: 'minimalFlagCalledEvents',
  property_matching_version: 'propertyMatchingVersion',
}

/** In order of preference. Brotli's default quality saves a tenth more, but takes seconds for megabytes. */
const COMPRESSORS = {
  // Available since Node.js 22.15.
  ...(zlib.zstdCompress && { zstd: promisify(zlib.zstdCompress) }),
  br: (text) => promisify(zlib.brotliCompress)(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } }),
  gzip: promisify(zlib.gzip),
}

const ENCODINGS = Object.keys(COMPRESSORS)

/** One version of the definitions, in the form of PostHog's API. Compressed once for each encoding that is requested. */
class Definitions {
  #bodies = new Map()

  /** `text`: the shared definitions in UTF-8. `definitions`: the same, parsed. */
  constructor(text, definitions) {
    const body = apiText(text, definitions)
    this.#bodies.set('identity', body)
    // A weak ETag, like PostHog's, because it is the same for all encodings.
    this.etag = `W/"${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`
  }

  /** The bytes in this encoding, or a promise of them. */
  body(encoding) {
    const known = this.#bodies.get(encoding)
    if (known) return known
    const made = COMPRESSORS[encoding](this.#bodies.get('identity'))
    this.#bodies.set(encoding, made)
    made.then(
      (body) => this.#bodies.set(encoding, body),
      () => this.#bodies.delete(encoding),
    )
    return made
  }
}

/**
 * PostHog's answer, byte for byte if the store has it. The names that were added for posthog-node are removed. If an older posthog-node
 * published only its own names, the API's names are added.
 */
function apiText(text, definitions) {
  const added = Object.entries(NAMES).filter(([name, alias]) => Object.hasOwn(definitions, name) && Object.hasOwn(definitions, alias))
  let end = text.lastIndexOf('}')
  for (let isFound = true; isFound; ) {
    isFound = false
    for (const [, alias] of added) {
      const at = text.lastIndexOf(`,"${alias}":`, end - 1)
      if (at < 0 || !isMember(text.toString('utf8', at + 1, end), alias)) continue
      end = at
      isFound = true
    }
  }
  const missing = Object.entries(NAMES).filter(([name, alias]) => !Object.hasOwn(definitions, name) && Object.hasOwn(definitions, alias))
  const members = missing.map(([name, alias]) => `,${JSON.stringify(name)}:${JSON.stringify(definitions[alias])}`)
  return Buffer.concat([text.subarray(0, end), Buffer.from(`${members.join('')}}`)])
}

/** Whether the text is only the member with this name. Then it was at the end of the top-level object. */
function isMember(text, name) {
  try {
    const keys = Object.keys(JSON.parse(`{${text}}`))
    return keys.length === 1 && keys[0] === name
  } catch {
    return false
  }
}

module.exports = { Definitions, ENCODINGS }
