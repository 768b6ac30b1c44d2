'use strict'

const { FlagCacheError } = require('../error.js')
const { MEASURES, samplesOf } = require('./measures.js')

/** By project, the numbers that are in use. They distinguish the caches of a project. */
const places = new Map()

/**
 * Registers what `MEASURES` lists with an OpenTelemetry meter: each collection reads `status()` once. Returns a function that ends it.
 */
function instrument(cache, meter) {
  if (typeof cache?.status !== 'function' || typeof meter?.addBatchObservableCallback !== 'function') {
    throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'instrument() takes a FlagDefinitionCache and an OpenTelemetry meter')
  }
  const { projectKey: project } = cache.status()
  const taken = places.get(project) ?? new Set()
  places.set(project, taken)
  const place = firstFree(taken)
  taken.add(place)
  const common = { project, cache: String(place) }

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
    taken.delete(place)
  }
}

function create(meter, { kind, name, unit, description }) {
  const options = { unit, description }
  return kind === 'counter' ? meter.createObservableCounter(name, options) : meter.createObservableGauge(name, options)
}

function firstFree(taken) {
  let place = 0
  while (taken.has(place)) place += 1
  return place
}

module.exports = { instrument }
