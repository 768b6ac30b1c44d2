// docs/grafana.json: Prometheus understands its queries, and what they name is there.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { parser } from '@prometheus-io/lezer-promql'

import { prometheus, samplesIn, startFleet } from './support/fleet.mjs'

const dashboard = JSON.parse(readFileSync(new URL('../../docs/grafana.json', import.meta.url), 'utf8'))
const VARIABLES = { $__rate_interval: '1m', $__range: '6h', $project: '.*' }
/** What Prometheus adds to each series. */
const OF_PROMETHEUS = ['instance', 'job']

/** What a query names: `[{ metric, labels, functions }]`, `functions` being those around the metric. */
function selectorsIn(query) {
  const text = Object.entries(VARIABLES).reduce((text, [name, value]) => text.replaceAll(name, value), query)
  assert.doesNotMatch(text, /\$/, `an unknown variable in ${query}`)
  const selectors = []
  const around = []
  parser.parse(text).iterate({
    enter({ type, name, from, node }) {
      assert.ok(!type.isError, `${query} is no PromQL at ${from}`)
      around.push(node)
      if (name !== 'VectorSelector') return
      const functions = around.map((outer) => outer.getChild('FunctionIdentifier') ?? outer.getChild('AggregateOp')).filter(Boolean)
      const matchers = node.getChild('LabelMatchers')?.getChildren('UnquotedLabelMatcher') ?? []
      const grouping = around.flatMap(
        (outer) => outer.getChild('AggregateModifier')?.getChild('GroupingLabels')?.getChildren('LabelName') ?? [],
      )
      selectors.push({
        metric: text.slice(...rangeOf(node.getChild('Identifier'))),
        labels: [...matchers.map((matcher) => matcher.getChild('LabelName')), ...grouping].map((label) => text.slice(...rangeOf(label))),
        functions: functions.map((one) => text.slice(...rangeOf(one))),
      })
    },
    leave: () => void around.pop(),
  })
  return selectors
}

const rangeOf = ({ from, to }) => [from, to]

const queries = dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr, legendFormat }) => ({ title, expr, legendFormat })))
const variables = dashboard.templating.list.filter(({ type }) => type === 'query').map(({ query }) => query.query)

/** The labels of each metric that is exposed, by its name. */
async function exposed(t) {
  const { caches } = await startFleet(t)
  const status = { ...caches[0].status(), suggestedRefreshIntervalMs: 60_000, relay: { responses: { 200: 1 }, proxied: { answered: 1 } } }
  return new Map(samplesIn(prometheus({ status: () => status })).map(([name, , labels]) => [name, Object.keys(labels)]))
}

test('the dashboard', async (t) => {
  const metrics = await exposed(t)

  for (const { title, expr, legendFormat } of queries) {
    await t.test(`${title}: ${expr}`, () => {
      const selectors = selectorsIn(expr)
      assert.ok(selectors.length > 0)
      for (const { metric, labels, functions } of selectors) {
        assert.ok(metrics.has(metric), `${metric} is exposed`)
        for (const label of labels)
          assert.ok([...metrics.get(metric), ...OF_PROMETHEUS].includes(label), `${metric} has the label ${label}`)
        for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) assert.ok(labels.includes(label), `the legend names ${label}`)
        assert.ok(labels.includes('project'), 'it is of the project that was chosen')
        const isRate = functions.some((name) => ['rate', 'increase'].includes(name))
        assert.equal(isRate, metric.endsWith('_total'), 'what counts is shown as a rate, and nothing else')
      }
    })
  }

  await t.test('shows every metric', () => {
    const shown = new Set(queries.flatMap(({ expr }) => selectorsIn(expr).map(({ metric }) => metric)))
    assert.deepEqual([...shown].sort(), [...metrics.keys()].sort())
  })

  await t.test('finds the projects by a metric and a label that are there', () => {
    assert.equal(variables.length, 1)
    const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(variables[0])
    assert.ok(metrics.get(metric).includes(label))
  })

  await t.test('has its panels beside one another', () => {
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) => {
      assert.ok(x + w <= 24)
      return Array.from({ length: w * h }, (_, n) => `${x + (n % w)},${y + Math.floor(n / w)}`)
    })
    assert.equal(new Set(cells).size, cells.length)
    const ids = dashboard.panels.map(({ id }) => id)
    assert.equal(new Set(ids).size, ids.length)
  })
})

test('a query that is wrong is found', () => {
  assert.throws(() => selectorsIn('sum (posthog_flag_cache_leader{project=~"$project"}'), /is no PromQL/)
  assert.throws(() => selectorsIn('sum by (x) (rate(posthog_flag_cache_leader[$unknown]))'), /an unknown variable/)
  assert.deepEqual(selectorsIn('max by (a, b) (increase(m_total{c="d"}[1m])) / n'), [
    { metric: 'm_total', labels: ['c', 'a', 'b'], functions: ['max', 'increase'] },
    { metric: 'n', labels: [], functions: [] },
  ])
})
