// A process at the limits of the system when it first uses the cache.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { start } from '../support/child.mjs'

const SOURCE = `
  const { closeSync, openSync } = require('node:fs')
  const { FlagCacheError, FlagDefinitionCache } = require('posthog-flag-cache')
  const said = []
  const told = (work) => work.then((value) => said.push(String(value)), (error) => said.push(error instanceof FlagCacheError && error.message))
  const files = []
  try { for (;;) files.push(openSync('/dev/null')) } catch {}
  const cache = new FlagDefinitionCache({ projectKey: 'phc_x', url: 'memory:' })
  cache.onError(() => {})
  cache.onUpdate(() => {})
  async function main() {
    const other = new FlagDefinitionCache({ projectKey: 'phc_y', url: 'memory:' })
    await told(cache.shouldFetchFlagDefinitions())
    await told(other.shutdown())
    for (const file of files) closeSync(file)
    await told(cache.shouldFetchFlagDefinitions())
    await cache.shutdown()
    console.log(JSON.stringify(said))
  }
  main()
`

test('without a free file descriptor a call fails, and the next one tries again', {
  skip: process.platform === 'win32' && 'there is no such limit',
}, async () => {
  const { ended } = start('sh', ['-c', 'ulimit -n 64; exec "$0" --input-type=commonjs -e "$1"', process.execPath, SOURCE])
  const { stdout, stderr } = await ended
  assert.equal(stderr, '')
  const [first, shutdown, second] = JSON.parse(stdout)
  assert.match(first, /^cannot start the threads of the cache: Too many open files .* open files \(ulimit -n\)\.$/)
  assert.deepEqual([shutdown, second], ['undefined', 'true'])
})
