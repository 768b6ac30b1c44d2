'use strict'

const { createHash } = require('node:crypto')
const { promisify } = require('node:util')
const zlib = require('node:zlib')

/** What older and newer versions of posthog-node call the same field of a cache. PostHog's API knows only the first name of each. */
const NAMES = {
  group_type_mapping: 'groupTypeMapping',
  minimal_flag_called_events: 'minimalFlagCalledEvents',
  property_matching_version: 'propertyMatchingVersion',
}

/** In the order of our preference. Brotli's default quality takes seconds for megabytes, and saves a tenth more. */
const COMPRESSORS = {
  // Node.js has it since 22.15.
  ...(zlib.zstdCompress && { zstd: promisify(zlib.zstdCompress) }),
  br: (text) => promisify(zlib.brotliCompress)(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } }),
  gzip: promisify(zlib.gzip),
}

const ENCODINGS = Object.keys(COMPRESSORS)

/** One version of the definitions, as PostHog's API answers them. Compressed once for each encoding that is asked for. */
class Definitions {
  #bodies = new Map()

  /** `text`: what the fleet shares, in UTF-8; `definitions`: the same, parsed. */
  constructor(text, definitions) {
    const body = apiText(text, definitions)
    this.#bodies.set('identity', body)
    // Weak, as PostHog's: it stands for each of the encodings.
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
 * What PostHog answered, byte for byte if the store has that: without the names that were added to it for posthog-node, and with
 * those of the API if an older posthog-node has published its own alone.
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

/** Whether the text is the member of this name and nothing else: then it was at the end of the outermost object. */
function isMember(text, name) {
  try {
    const keys = Object.keys(JSON.parse(`{${text}}`))
    return keys.length === 1 && keys[0] === name
  } catch {
    return false
  }
}

module.exports = { Definitions, ENCODINGS }
