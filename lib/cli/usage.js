'use strict'

/** How the command line was written is wrong: exit code 2. The message never quotes a value, which may be a secret. */
class UsageError extends Error {}

/** What was asked for cannot be done: exit code 1. */
class Failure extends Error {
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

module.exports = { UsageError, Failure }
