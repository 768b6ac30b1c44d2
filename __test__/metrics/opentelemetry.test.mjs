// instrument(): the same metrics through the SDK of OpenTelemetry.

import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'

import { diag, DiagLogLevel } from '@opentelemetry/api'
import { AggregationTemporality, DataPointType, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'

import { read } from '../../dev/markdown.mjs'
import { FlagCacheError, openCache } from '../support/client.mjs'
import { newProjectKey } from '../support/stores.mjs'
import { instrument, prometheus, samplesIn, startFleet } from './support/fleet.mjs'

class Reader extends MetricReader {
  async onShutdown() {}
  async onForceFlush() {}
}

let complaints
beforeEach((t) => {
  complaints = []
  const log = (...message) => complaints.push(message.join(' '))
  diag.setLogger(
    { error: log, warn: log, info() {}, debug() {}, verbose() {} },
    { logLevel: DiagLogLevel.ALL, suppressOverrideMessage: true },
  )
  t.after(() => diag.disable())
})

/** A meter, and what has been recorded with it: `{ name, unit, kind, points }`. */
function startMeter(t) {
  const reader = new Reader()
  const provider = new MeterProvider({ readers: [reader] })
  t.after(() => provider.shutdown())
  const collect = async () => {
    const { resourceMetrics, errors } = await reader.collect()
    assert.deepEqual(errors, [])
    return resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics)
  }
  return { meter: provider.getMeter('test'), collect }
}

/** A cache whose status no longer changes. */
const frozen = (cache) => {
  const status = cache.status()
  return { status: () => status }
}

/** By the rules of OpenTelemetry's "Prometheus and OpenMetrics Compatibility". */
function translated({ descriptor: { name, unit }, dataPointType, dataPoints }) {
  const words = { s: '_seconds', By: '_bytes' }
  const suffix = (words[unit] ?? '') + (dataPointType === DataPointType.SUM ? '_total' : '')
  const labels = (attributes) => Object.fromEntries(Object.entries(attributes).map(([key, value]) => [key.replace(/\W/g, '_'), value]))
  return dataPoints.map(({ value, attributes }) => [name.replace(/\W/g, '_') + suffix, value, labels(attributes)])
}

test('the SDK takes it without a complaint, and has what prometheus() has', async (t) => {
  const { caches } = await startFleet(t)
  const both = caches.map(frozen)
  const { meter, collect } = startMeter(t)
  for (const cache of both) instrument(cache, meter)
  const metrics = await collect()
  const sorted = (samples) => samples.map((sample) => JSON.stringify(sample)).sort()
  assert.deepEqual(sorted(metrics.flatMap(translated)), sorted(samplesIn(prometheus(...both))))
  assert.deepEqual(complaints, [])
})

test('the docs list each metric under both names, with its unit, label and meaning', async (t) => {
  const cache = openCache(t, { projectKey: newProjectKey(), url: 'memory:' })
  // So that nothing is unknown.
  const status = { ...cache.status(), lastGrantMsAgo: 1, roundTripMs: 1, suggestedRefreshIntervalMs: 1 }
  status.definitions = { flags: 1, bytes: 1, storedBytes: 1, ageMs: 1, isLocalCopy: false }
  status.relay = { responses: { 200: 1 }, proxied: { answered: 1 } }
  const { meter, collect } = startMeter(t)
  instrument({ status: () => status }, meter)
  const quoted = (text) => (text ? `\`${text}\`` : '')
  const rows = (await collect()).map((metric) => {
    const { name, unit, description } = metric.descriptor
    const [[exposed, , labels]] = translated(metric)
    const label = Object.keys(labels).find((label) => !['project', 'cache'].includes(label))
    return `| ${[exposed, name, unit, label].map(quoted).join(' | ')} | ${description.slice(0, -1)} |`
  })
  assert.deepEqual(read('docs/operations.md').match(/^\| `posthog_flag_cache_.*$/gm), rows)
})

test('names, units and kinds are as the conventions have them', async (t) => {
  const { caches } = await startFleet(t)
  const { meter, collect } = startMeter(t)
  instrument(caches[0], meter)
  const metrics = await collect()
  assert.ok(metrics.length >= 19)
  const names = metrics.map(({ descriptor }) => descriptor.name)
  for (const { descriptor, dataPointType, isMonotonic, aggregationTemporality } of metrics) {
    const { name, unit, description } = descriptor
    assert.match(name, /^posthog\.flag_cache(\.[a-z]+(_[a-z]+)*)+$/)
    assert.doesNotMatch(name, /total|seconds|bytes|count/, 'neither unit nor kind are in a name')
    assert.ok(!names.some((other) => other.startsWith(`${name}.`)), `${name} is not the beginning of another name`)
    assert.match(unit, /^(s|By|\{[a-z]+\}|)$/, name)
    assert.match(description, /^[A-Z].*\.$/)
    if (dataPointType === DataPointType.SUM)
      assert.deepEqual([isMonotonic, aggregationTemporality, unit[0]], [true, AggregationTemporality.CUMULATIVE, '{'])
    else assert.equal(dataPointType, DataPointType.GAUGE)
  }
})

test('each collection reads the current values, until the registration ends', async (t) => {
  const { caches } = await startFleet(t)
  const { meter, collect } = startMeter(t)
  const cache = caches[1]
  const end = instrument(cache, meter)
  const follows = async () => {
    const [refreshes] = (await collect()).filter(({ descriptor }) => descriptor.name === 'posthog.flag_cache.refreshes')
    return refreshes?.dataPoints.find(({ attributes }) => attributes.outcome === 'follow')?.value
  }
  const before = await follows()
  await cache.shouldFetchFlagDefinitions()
  assert.equal(await follows(), before + 1)
  let reads = 0
  const { status } = cache
  cache.status = function () {
    reads += 1
    return status.call(this)
  }
  await collect()
  assert.equal(reads, 1)
  end()
  await collect()
  assert.equal(reads, 1)
})

test('caches of a project have different numbers, and a number is free again when its cache has ended', async (t) => {
  const [projectKey, otherKey] = [newProjectKey(), newProjectKey()]
  const open = (projectKey) => openCache(t, { projectKey, url: 'memory:' })
  const { meter, collect } = startMeter(t)
  const places = async () => {
    const [leader] = (await collect()).filter(({ descriptor }) => descriptor.name === 'posthog.flag_cache.leader')
    return leader.dataPoints.map(({ attributes: { project, cache } }) => [project, cache]).sort()
  }
  const ends = [projectKey, projectKey, otherKey].map((key) => instrument(open(key), meter))
  const three = [
    [projectKey, '0'],
    [projectKey, '1'],
    [otherKey, '0'],
  ].sort()
  assert.deepEqual(await places(), three)
  ends[0]()
  ends[0]()
  instrument(open(projectKey), meter)
  ends[0]()
  const last = instrument(open(projectKey), meter)
  assert.deepEqual(await places(), [...three, [projectKey, '2']].sort())
  last()
})

test('a cache that is instrumented twice keeps its number', async (t) => {
  const cache = openCache(t, { projectKey: newProjectKey(), url: 'memory:' })
  const meters = [startMeter(t), startMeter(t)]
  const ends = meters.map(({ meter }) => instrument(cache, meter))
  const numbers = async ({ collect }) => {
    const [leader] = (await collect()).filter(({ descriptor }) => descriptor.name === 'posthog.flag_cache.leader')
    return leader.dataPoints.map(({ attributes }) => attributes.cache)
  }
  assert.deepEqual(await Promise.all(meters.map(numbers)), [['0'], ['0']])
  ends[0]()
  const another = startMeter(t)
  instrument(openCache(t, { projectKey: cache.status().projectKey, url: 'memory:' }), another.meter)
  assert.deepEqual(await numbers(another), ['1'])
})

test('missing options are rejected', (t) => {
  const cache = openCache(t, { projectKey: newProjectKey(), url: 'memory:' })
  for (const given of [[], [cache], [cache, {}], [{}, startMeter(t).meter]]) {
    assert.throws(
      () => instrument(...given),
      (error) => error instanceof FlagCacheError && error.code === 'ERR_FLAG_CACHE_OPTIONS',
    )
  }
})
