// A fleet of posthog-node clients with something to measure, and what its metrics say.

import { standIn } from '../../support/client.mjs'
import { startSharing } from '../../support/shared.mjs'
import { STORES } from '../../support/stores.mjs'

export { contentType, instrument, prometheus } from 'posthog-flag-cache/metrics'

/** Two caches: the first one's fetch of an edit has failed, so that the second one leads. */
export async function startFleet(t) {
  const store = await STORES.redis()
  t.after(() => store.close())
  const api = await standIn(t)
  const options = { api, url: store.url, refreshIntervalMs: 60_000 }
  const first = startSharing(t, options)
  await first.load()
  const second = startSharing(t, options)
  await second.load()
  api.edit()
  api.next(503)
  await first.cache.invalidate()
  await first.load()
  await second.load()
  await first.load()
  return { api, caches: [first.cache, second.cache] }
}

/** `[name, value, labels]` of each sample of OpenMetrics text, however they are written. */
export function samplesIn(text) {
  return [...text.matchAll(/^([a-z_]+)\{(.*)\} (\S+)$/gm)].map(([, name, labels, value]) => {
    const pairs = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, text]) => [label, text])
    return [name, Number(value), Object.fromEntries(pairs)]
  })
}
