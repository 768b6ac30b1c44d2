'use strict'

const { translate } = require('../error.js')
const { inOurWords } = require('./options.js')

/** The shared store for commands: `look()`, `definitions()`, `changed(ms)`, `purge()`, `examine()`. */
function openStore(options) {
  // Loaded here, so that `--help` needs no addon.
  const { NativeInspector } = require('../native.js')
  const { toNativeCredentials } = require('../credentials.js')
  const native = attempt(() => new NativeInspector(options, ...toNativeCredentials(options.credentials)))
  const asking =
    (name, read = (reply) => reply) =>
    async (...given) => {
      try {
        return read(await native[name](...given))
      } catch (cause) {
        throw described(cause)
      }
    }
  return {
    look: asking('look', JSON.parse),
    definitions: asking('definitions'),
    changed: asking('changed'),
    purge: asking('purge'),
    examine: asking('examine', JSON.parse),
  }
}

function attempt(work) {
  try {
    return work()
  } catch (cause) {
    throw described(cause)
  }
}

function described(cause) {
  const error = translate(cause)
  error.message = inOurWords(error.message)
  return error
}

module.exports = { openStore }
