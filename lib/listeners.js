'use strict'

const { FlagCacheError } = require('./error.js')

/** Functions to call, none of which can harm the others or the caller. */
class Listeners {
  #listeners = new Set()
  #onChange
  #onThrow

  /** `onChange` runs after each subscription or its end; `onThrow` gets what a listener threw. */
  constructor(onChange, onThrow) {
    this.#onChange = onChange
    this.#onThrow = onThrow
  }

  get size() {
    return this.#listeners.size
  }

  /** Returns what ends the subscription. */
  add(listener) {
    if (typeof listener !== 'function') {
      throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'the listener must be a function')
    }
    // An object of its own: the same function may subscribe twice.
    const entry = { listener }
    this.#listeners.add(entry)
    this.#onChange()
    return () => {
      if (this.#listeners.delete(entry)) this.#onChange()
    }
  }

  call(argument) {
    for (const { listener } of [...this.#listeners]) {
      new Promise((resolve) => resolve(listener(argument))).catch(this.#onThrow)
    }
  }
}

module.exports = { Listeners }
