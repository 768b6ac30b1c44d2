// The pattern of Kilo's pull request: SET NX with a lock of 90 s, released by DEL whoever holds it, the data
// written first and the lock deleted by a second command.

import { DocstringProvider } from './docstring.mjs'
import { scaled } from './scale.mjs'

export class KiloProvider extends DocstringProvider {
  constructor(redis, projectKey, pollingIntervalMs) {
    super(redis, projectKey, pollingIntervalMs)
    this.lockMs = scaled(90, pollingIntervalMs)
  }
}
