'use strict'

const { FlagCacheError } = require('../error.js')
const { MEASURES, samplesOf } = require('./measures.js')

/** By project, each instrumented cache with its number, and how often it is instrumented. The numbers distinguish the caches of a project. */
const places = new Map()

/**
 * Registers what `MEASURES` lists with an OpenTelemetry meter: each collection reads `status()` once. Returns a function that ends it.
 */
function instrument(cache, meter) {
  if (typeof cache?.status !== 'function' || typeof meter?.addBatchObservableCallback !== 'function') {
    throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'instrument() takes a FlagDefinitionCache or a relay, and an OpenTelemetry meter')
  }
  const { projectKey: project } = cache.status()
  const taken = places.get(project) ?? new Map()
  places.set(project, taken)
  const { number, times } = taken.get(cache) ?? { number: firstFree(taken), times: 0 }
  taken.set(cache, { number, times: times + 1 })
  const common = { project, cache: String(number) }

  const instruments = new Map(MEASURES.map((measure) => [measure, create(meter, measure)]))
  const observe = (result) => {
    const status = cache.status()
    for (const [measure, instrument] of instruments)
      for (const [value, attributes] of samplesOf(measure, status)) result.observe(instrument, value, { ...common, ...attributes })
  }
  meter.addBatchObservableCallback(observe, [...instruments.values()])
  return () => {
    if (!instruments.size) return
    meter.removeBatchObservableCallback(observe, [...instruments.values()])
    instruments.clear()
    const { times } = taken.get(cache)
    if (times > 1) taken.set(cache, { number, times: times - 1 })
    else taken.delete(cache)
  }
}

function create(meter, { kind, name, unit, description }) {
  const options = { unit, description }
  return kind === 'counter' ? meter.createObservableCounter(name, options) : meter.createObservableGauge(name, options)
}

function firstFree(taken) {
  const numbers = new Set([...taken.values()].map(({ number }) => number))
  let free = 0
  while (numbers.has(free)) free += 1
  return free
}

module.exports = { instrument }
