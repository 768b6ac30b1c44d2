// prometheus(): OpenMetrics text, as Prometheus's own parser reads it.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { pythonPackages } from '../../scripts/python-packages.mjs'
import { FlagCacheError, openCache } from '../support/client.mjs'
import { newProjectKey } from '../support/stores.mjs'
import { contentType, prometheus, samplesIn, startFleet } from './support/fleet.mjs'

const hasPip = spawnSync('python3', ['-m', 'pip', '--version']).status === 0

/** The families of `text`, as the parser has them. */
function parse(text) {
  const script = fileURLToPath(new URL('support/parse.py', import.meta.url))
  const env = { ...process.env, PYTHONPATH: pythonPackages('metrics') }
  const { status, stdout, stderr } = spawnSync('python3', [script], { input: text, encoding: 'utf8', env })
  assert.equal(status, 0, stderr)
  return JSON.parse(stdout)
}

describe('Prometheus', { skip: hasPip ? false : 'there is no python3 with pip' }, () => {
  test('reads it, and finds names, types, units and labels as its conventions have them', async (t) => {
    const { caches } = await startFleet(t)
    const text = prometheus(...caches)
    const families = parse(text)
    assert.ok(families.length >= 20)
    for (const { name, type, unit, help, samples } of families) {
      assert.match(name, /^posthog_flag_cache(_[a-z]+)+$/)
      assert.ok(['counter', 'gauge'].includes(type), name)
      assert.equal(unit, /_(seconds|bytes)$/.exec(name)?.[1] ?? '', name)
      assert.doesNotMatch(name, /_(total|count|sum|ms|kb|created|info)$/)
      assert.match(help, /^[A-Z].*\.$/)
      for (const [sample, value, labels] of samples) {
        assert.equal(sample, type === 'counter' ? `${name}_total` : name)
        assert.ok(value >= 0)
        assert.deepEqual(Object.keys(labels).slice(0, 2), ['project', 'cache'])
      }
    }
    const read = families.flatMap(({ samples }) => samples)
    assert.deepEqual(samplesIn(text).toSorted(), read.toSorted(), 'the tests read the same')
  })

  test('reads a project key with characters that have a meaning in a label', (t) => {
    const projectKey = `phc_"quoted"\\n\\${newProjectKey()}`
    const [{ samples }] = parse(prometheus(openCache(t, { projectKey, url: 'memory:' })))
    assert.equal(samples[0][2].project, projectKey)
  })

  test('reads it without a cache', () => {
    assert.deepEqual(
      parse(prometheus()).flatMap(({ samples }) => samples),
      [],
    )
  })
})

test('the content type is that of OpenMetrics 1.0', () => {
  assert.equal(contentType, 'application/openmetrics-text; version=1.0.0; charset=utf-8')
})

test('each value is that of status()', async (t) => {
  const { api, caches } = await startFleet(t)
  const [first, second] = caches.map((cache) => cache.status())
  const found = samplesIn(prometheus({ status: () => first }, { status: () => second }))
  for (const [index, { definitions, counters, ...status }] of [first, second].entries()) {
    const of = (name, labels = {}) => {
      const wanted = JSON.stringify({ project: api.projectKey, cache: String(index), ...labels })
      const values = found.filter(([sample, , given]) => sample === `posthog_flag_cache_${name}` && JSON.stringify(given) === wanted)
      assert.ok(values.length <= 1, `${name} has one value`)
      return values[0]?.[1]
    }
    assert.deepEqual(
      ['leader', 'definitions_loaded', 'definitions_flags', 'definitions_local_copy'].map((name) => of(name)),
      [Number(status.isLeader), 1, definitions.flags, 0],
    )
    assert.deepEqual([of('definitions_size_bytes'), of('definitions_stored_size_bytes')], [definitions.bytes, definitions.storedBytes])
    const seconds = ['definitions_age', 'last_grant_age', 'store_round_trip'].map((name) => of(`${name}_seconds`))
    assert.deepEqual(
      seconds,
      [definitions.ageMs, status.lastGrantMsAgo, status.roundTripMs].map((ms) => ms / 1_000),
    )
    assert.deepEqual([of('pause_seconds'), of('suggested_refresh_interval_seconds')], [0, undefined])
    assert.deepEqual([of('failed_fetches'), of('fleet_failed_fetches')], [status.failedFetches, status.fleetFailedFetches])
    const { grants, follows, loads, unchanged, publishes, confirms, superseded, heals, waits, errors } = counters
    const outcomes = (name, ...values) => values.map((outcome) => of(`${name}_total`, { outcome }))
    assert.deepEqual(outcomes('refreshes', 'fetch', 'follow'), [grants, follows])
    assert.deepEqual(outcomes('reads', 'changed', 'unchanged'), [loads, unchanged])
    assert.deepEqual(outcomes('fetches', 'published', 'confirmed', 'superseded'), [publishes, confirms, superseded])
    assert.deepEqual([of('heals_total'), of('waits_total')], [heals, waits])
    assert.equal(of('errors_total', { error_type: 'ERR_FLAG_CACHE_API' }), errors.ERR_FLAG_CACHE_API ?? 0)
    assert.deepEqual([of('requests_billed_total'), of('requests_saved_total')], [counters.requestsBilled, counters.requestsSaved])
  }
  assert.deepEqual([first.isLeader, first.failedFetches, first.counters.errors.ERR_FLAG_CACHE_API, first.counters.loads], [false, 1, 1, 1])
  assert.deepEqual([second.isLeader, second.counters.publishes, second.counters.requestsBilled], [true, 1, 10])
})

test('whatever changes in status() shows, except what only names something', async (t) => {
  const { caches } = await startFleet(t)
  const status = { ...caches[0].status(), retryInMs: 7_000, suggestedRefreshIntervalMs: 5_000 }
  const before = prometheus({ status: () => status })
  const silent = Object.entries(leaves(status)).filter(([path, value]) => {
    const other = structuredClone(status)
    const parent = path.split('.').slice(0, -1)
    const holder = parent.reduce((inner, name) => inner[name], other)
    holder[path.split('.').at(-1)] = typeof value === 'number' ? value + 1_000 : !value
    return prometheus({ status: () => other }) === before
  })
  // The number of the newest grant: the counters of the grants tell more.
  assert.deepEqual(
    silent.map(([path]) => path),
    ['fence'],
  )
})

/** The numbers and the booleans in a value, by their paths. */
function leaves(value, path = []) {
  if (typeof value === 'number' || typeof value === 'boolean') return { [path.join('.')]: value }
  if (value === null || typeof value !== 'object') return {}
  return Object.assign({}, ...Object.entries(value).map(([name, inner]) => leaves(inner, [...path, name])))
}

test('before any definitions, unknown values are left out', (t) => {
  const found = samplesIn(prometheus(openCache(t, { projectKey: newProjectKey(), url: 'memory:' })))
  const named = (name) => found.filter(([sample]) => sample === `posthog_flag_cache_${name}`).map(([, value]) => value)
  assert.deepEqual(named('definitions_loaded'), [0])
  for (const name of ['definitions_flags', 'definitions_size_bytes', 'definitions_age_seconds', 'store_round_trip_seconds'])
    assert.deepEqual(named(name), [])
})

test('labels are bounded: a project, a number, and the words of a list', async (t) => {
  const { api, caches } = await startFleet(t)
  const other = openCache(t, { projectKey: newProjectKey(), url: 'memory:' })
  const text = prometheus(...caches, other)
  const found = samplesIn(text)
  const codes = readFileSync(new URL('../../index.d.ts', import.meta.url), 'utf8').match(/(?<=^ {2}\| ')ERR_\w+/gm)
  const atStart = ['OPTIONS', 'NATIVE', 'RUNTIME'].map((name) => `ERR_FLAG_CACHE_${name}`)
  const allowed = {
    project: [api.projectKey, other.status().projectKey],
    cache: ['0', '1'],
    outcome: ['fetch', 'follow', 'changed', 'unchanged', 'published', 'confirmed', 'superseded'],
    // What the constructor throws is no failure of a cache.
    error_type: codes.filter((code) => !atStart.includes(code)),
  }
  for (const [label, values] of Object.entries(allowed)) {
    const given = new Set(found.flatMap(([, , labels]) => labels[label] ?? []))
    assert.deepEqual([...given].sort(), values.sort(), label)
  }
  assert.deepEqual([...new Set(found.flatMap(([, , labels]) => Object.keys(labels)))].sort(), Object.keys(allowed).sort())
  for (const cache of caches) assert.ok(!text.includes(cache.status().worker))
  const series = found.map(([name, , labels]) => JSON.stringify([name, labels]))
  assert.equal(new Set(series).size, series.length, 'no series is there twice')
})

test('a value that is not a cache is rejected', () => {
  for (const given of [undefined, {}, 'cache']) {
    assert.throws(
      () => prometheus(given),
      (error) => error instanceof FlagCacheError && error.code === 'ERR_FLAG_CACHE_OPTIONS',
    )
  }
})
