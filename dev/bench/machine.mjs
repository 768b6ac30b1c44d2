// On what was measured, for the line beside the figures.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** "posthog-node 5.70.0, …, Node.js 20.20.2, Redis 7.0.15, 2 cores", with the installed versions of these packages. */
export function machine(packages) {
  const versions = packages.map((name) => {
    const file = new URL(`../../node_modules/${name}/package.json`, import.meta.url)
    return `${name} ${JSON.parse(readFileSync(file, 'utf8')).version}`
  })
  const redis = /v=([\d.]+)/.exec(spawnSync('redis-server', ['--version'], { encoding: 'utf8' }).stdout)?.[1]
  return [...versions, `Node.js ${process.versions.node}`, `Redis ${redis}`, `${availableParallelism()} cores`].join(', ')
}
