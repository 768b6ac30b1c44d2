'use strict'

const { FlagCacheError } = require('../error.js')
const { MEASURES, samplesOf } = require('./measures.js')

/** The content type. Without it, Prometheus assumes its older format. */
const contentType = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/** OpenMetrics writes these units in full at the end of the name. It has no other units. */
const UNITS = { s: 'seconds', By: 'bytes' }

/** The metrics of these caches as OpenMetrics text. Names and labels are those to which Prometheus translates OpenTelemetry's. */
function prometheus(...caches) {
  const sources = caches.map(sourceOf())
  return `${MEASURES.map((measure) => familyOf(measure, sources)).join('')}# EOF\n`
}

/** A cache is told from others of its project by its place among them. */
function sourceOf() {
  const counts = new Map()
  return (cache) => {
    if (typeof cache?.status !== 'function') {
      throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'prometheus() takes FlagDefinitionCaches and relays')
    }
    const status = cache.status()
    const project = status.projectKey
    const index = counts.get(project) ?? 0
    counts.set(project, index + 1)
    return { status, labels: { project, cache: String(index) } }
  }
}

function familyOf(measure, sources) {
  const unit = UNITS[measure.unit]
  const name = [nameOf(measure.name), unit].filter(Boolean).join('_')
  const head = [`# TYPE ${name} ${measure.kind}`, unit && `# UNIT ${name} ${unit}`, `# HELP ${name} ${escaped(measure.description)}`]
  const suffix = measure.kind === 'counter' ? '_total' : ''
  const samples = sources.flatMap(({ status, labels }) =>
    samplesOf(measure, status).map(([value, attributes]) => `${name}${suffix}{${labelsOf({ ...labels, ...attributes })}} ${value}`),
  )
  return [...head, ...samples].filter(Boolean).join('\n').concat('\n')
}

const labelsOf = (labels) =>
  Object.entries(labels)
    .map(([name, value]) => `${nameOf(name)}="${escaped(value)}"`)
    .join(',')

const nameOf = (name) => name.replaceAll('.', '_')

const escaped = (text) => text.replace(/["\\]/g, '\\$&').replaceAll('\n', '\\n')

module.exports = { contentType, prometheus }
