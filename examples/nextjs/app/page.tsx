import { connection } from 'next/server'
import type { FlagCacheStatus } from 'posthog-flag-cache'
import { Suspense } from 'react'

import { serverPostHog } from '../lib/posthog'
import { Refresh } from './refresh'

const MODES = {
  off: 'Off: set POSTHOG_PROJECT_KEY, and run in production or with POSTHOG_IN_DEVELOPMENT=1.',
  remote: 'Evaluated by PostHog, a request each: set POSTHOG_SECRET_KEY to evaluate here.',
  local: 'Evaluated here, from definitions that all servers share.',
}

type Props = { searchParams: Promise<{ user?: string }> }

export default function Page({ searchParams }: Props) {
  return (
    <main>
      <Refresh />
      <Suspense fallback={<p>Loading …</p>}>
        <Flags searchParams={searchParams} />
      </Suspense>
    </main>
  )
}

async function Flags({ searchParams }: Props) {
  // What follows runs for each request, never in `next build`.
  await connection()
  const { user = 'ada' } = await searchParams
  const { mode, posthog, flagCache } = serverPostHog()
  const flags = Object.entries(await posthog.getAllFlags(user, { onlyEvaluateLocally: mode === 'local' })).sort()
  return (
    <>
      <h1>Feature flags of “{user}”</h1>
      <p>{MODES[mode]}</p>
      {flagCache && <Fleet status={flagCache.status()} />}
      <ul className="flags">
        {flags.map(([key, value]) => (
          <li key={key} data-flag={key} className={value ? 'on' : 'off'}>
            <span>{key}</span>
            <b>{value === true ? 'on' : value === false ? 'off' : value}</b>
          </li>
        ))}
      </ul>
    </>
  )
}

function Fleet({ status }: { status: FlagCacheStatus }) {
  const { worker, leader, isLeader, definitions, backend, counters } = status
  const polls = counters.grants + counters.follows
  const changes = counters.loads + counters.publishes
  // PostHog bills new definitions as 10 requests, and an answer that nothing changed as 1.
  const billed = 10 * counters.publishes + counters.confirms
  const withoutCache = 10 * changes + Math.max(0, polls - changes)
  return (
    <dl>
      <Fact name="This worker" id="worker" value={worker} note={`process ${process.pid}`} />
      <Fact
        name="The leader, which asks PostHog"
        id="leader"
        value={leader ?? 'nobody'}
        note={isLeader ? 'this worker' : 'another worker'}
      />
      <Fact
        name="Definitions"
        id="definitions"
        value={definitions ? `${definitions.flags} flags, version ${definitions.version.slice(0, 8)}` : 'none yet'}
        note={`shared through ${backend.server ?? backend.kind}`}
      />
      <Fact
        name="This worker’s bill"
        id="bill"
        value={`${billed} flag requests`}
        note={`for ${polls} polls; ${withoutCache} without the cache`}
      />
    </dl>
  )
}

function Fact({ name, id, value, note }: { name: string; id: string; value: string; note: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd data-fact={id}>{value}</dd>
      <small>{note}</small>
    </div>
  )
}
