// What a consumer's program must do, whatever runs it.

import assert from 'node:assert/strict'

import { startPostHogApi } from '../../../dev/harness/posthog-api.mjs'
import { newProjectKey } from '../../support/stores.mjs'
import { run } from './run.mjs'

/**
 * Runs a consumer's program `times` times, or so many `together`: `fleet` processes or threads in all, each of which evaluates
 * PostHog's definitions, while PostHog is asked for them once, or by any number of them (`shared: false`).
 */
export async function assertWorks(command, args, { cwd, url, times = 2, together = false, fleet = times, shared = true }) {
  const api = await startPostHogApi({ projectKey: newProjectKey() })
  try {
    const env = { API_URL: api.url, PROJECT_KEY: api.projectKey, SECRET_KEY: api.secretKey, CACHE_URL: url }
    const once = () => run(command, args, { cwd, env })
    let output = ''
    if (together) output = (await Promise.all(Array.from({ length: times }, once))).join('')
    else for (let n = 0; n < times; n += 1) output += await once()
    const lines = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const server = url.startsWith('redis') ? { server: 'redis' } : {}
    assert.deepEqual(lines, Array(fleet).fill({ version: api.version, errors: [], isOurs: true, ...server }))
    const statuses = api.calls.map(({ status }) => status)
    assert.deepEqual(statuses, Array(shared ? 1 : statuses.length).fill(200))
  } finally {
    await api.close()
  }
}
