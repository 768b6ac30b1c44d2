// `npm run test:yardstick`: every situation twice, with the cache and without, side by side. With `YARDSTICK_WRITE=1` the
// comparison goes into docs/reliability.md.

import { availableParallelism } from 'node:os'
import { after, describe, test } from 'node:test'

import { openPair } from '../../dev/harness/yardstick/lab.mjs'
import { SITUATIONS } from '../../dev/harness/yardstick/situations.mjs'
import { inFamilies, seconds, writeTable } from '../chaos/report.mjs'
import { assertNeverWorse } from './judge.mjs'
import { live } from './live.mjs'

/** One for each core, because a situation has up to 18 processes. */
const CONCURRENCY = Math.min(4, availableParallelism())
const outcomes = new Map()

describe('no healthy process is worse off than without the cache', { concurrency: CONCURRENCY }, () => {
  for (const [family, situations] of Object.entries(SITUATIONS)) {
    for (const situation of situations) {
      test(`${family}: ${situation.name}`, async (t) => {
        const sides = await openPair(situation.lab)
        t.after(() => Promise.all(sides.map((side) => side.close())))
        const outcome = await live(sides, situation)
        t.diagnostic(`with: ${measures(outcome[0])}; without: ${measures(outcome[1])}`)
        try {
          assertNeverWorse(sides, situation, outcome)
        } catch (error) {
          for (const line of sides.flatMap(story)) t.diagnostic(line)
          throw error
        }
        outcomes.set(situation, outcome)
      })
    }
  }
})

const measures = ({ firstMs, editMs, billed, lost }) =>
  `first flags ${firstMs.toFixed(0)} ms, edit ${editMs.toFixed(0)} ms, billed ${billed}, lost ${lost}`

/** What each process called and evaluated, in milliseconds since the first call. */
function story({ api, fleet }) {
  const since = (at) => Math.round(at - api.calls[0]?.at)
  return fleet.all.map(({ id, sick, history, errors }) => {
    const calls = api.calls.filter(({ worker }) => worker === id).map(({ at, version, status }) => `${since(at)}:${version}:${status}`)
    const versions = history.map(({ at, version }) => `${since(at)}:${version}`)
    const reports = errors.map(({ at, message }) => `${since(at)}:${message}`)
    return `${id}${sick ? ` (${sick})` : ''} calls ${calls.join(' ')}; evaluates ${versions.join(' ')}; reports ${reports.join(', ')}`
  })
}

const time = (ms) => (ms === Infinity ? 'never' : seconds(ms))
const pair = ([cached, plain], cell) => `${cell(cached)} / ${cell(plain)}`

after(() => {
  // A situation in which the fleet is worse off has no outcome.
  if (!process.env.YARDSTICK_WRITE || outcomes.size < Object.values(SITUATIONS).flat().length) return
  const columns = ['situation', 'time until first flags', 'time until an edit is evaluated', 'billed requests', 'processes that lose flags']
  const rows = inFamilies(SITUATIONS, columns.length, (situation) => {
    const outcome = outcomes.get(situation)
    return [
      situation.name,
      pair(outcome, ({ firstMs }) => time(firstMs)),
      pair(outcome, ({ editMs }) => time(editMs)),
      pair(outcome, ({ billed }) => billed),
      pair(outcome, ({ lost }) => lost),
    ]
  })
  writeTable('yardstick:table', columns, rows)
})
