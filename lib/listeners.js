'use strict'

const { FlagCacheError } = require('./error.js')

/** Listeners. If one fails, the others and the caller are not affected. */
class Listeners {
  #listeners = new Set()
  #onChange
  #onThrow

  /** `onChange` runs after a subscription starts or ends. `onThrow` gets the errors of listeners. */
  constructor(onChange, onThrow) {
    this.#onChange = onChange
    this.#onThrow = onThrow
  }

  get size() {
    return this.#listeners.size
  }

  /** Returns a function that ends the subscription. */
  add(listener) {
    if (typeof listener !== 'function') {
      throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'onUpdate() and onError() take a function')
    }
    // A new object each time, because the same function may subscribe twice.
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
