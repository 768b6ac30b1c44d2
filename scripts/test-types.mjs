// Compiles __test__/types against every posthog-node among the devDependencies, whose aliases
// (`posthog-node-5.34.2`) take the place of `posthog-node`, in index.d.ts too.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const json = (...path) => JSON.parse(readFileSync(join(root, ...path), 'utf8'))

const resolutions = [
  {
    name: 'nodenext: CommonJS and ES modules',
    compilerOptions: { module: 'nodenext' },
    files: ['use.cts', 'use.mts', 'misuse.mts'],
  },
  {
    name: 'bundler',
    compilerOptions: { module: 'esnext', moduleResolution: 'bundler' },
    files: ['use.mts', 'misuse.mts'],
  },
]

function compile(packageName, { compilerOptions, files }) {
  const types = `node_modules/${packageName}/${json('node_modules', packageName, 'package.json').types.replace('./', '')}`
  const folder = join(root, 'node_modules/.cache/test-types')
  mkdirSync(folder, { recursive: true })
  const config = join(folder, 'tsconfig.json')
  const up = '../../../'
  writeFileSync(
    config,
    JSON.stringify({
      extends: `${up}__test__/types/tsconfig.json`,
      compilerOptions: { ...compilerOptions, paths: { 'posthog-node': [up + types] } },
      files: files.map((file) => `${up}__test__/types/${file}`),
    }),
  )

  const tsc = join(root, 'node_modules/typescript', json('node_modules/typescript/package.json').bin.tsc)
  const args = [tsc, '--project', config, '--pretty', 'false', '--listFiles']
  const { stdout, stderr, error } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' })
  if (error) throw error

  // Indented lines go on with the error above.
  const entries = (stdout + stderr).trim().split(/\n(?! )/)
  const read = entries.filter((entry) => entry.startsWith(root)).map((file) => file.slice(root.length))
  const errors = entries.filter((entry) => /error TS\d+/.test(entry))
  // posthog-node's typings name Express and the DOM, which a server has not. skipLibCheck would
  // accept that, and with it every error in our own index.d.ts.
  const faults = errors.filter((entry) => !entry.startsWith('node_modules/'))
  for (const file of ['index.d.ts', types]) {
    if (!read.includes(file)) faults.push(`${file} was not read`)
  }
  const own = `node_modules/${packageName}/`
  const others = read.filter((file) => /^node_modules\/posthog-node[^/]*\//.test(file) && !file.startsWith(own))
  return [...faults, ...others.map((file) => `${file} was read`)]
}

const packageNames = Object.keys(json('package.json').devDependencies).filter((name) => /^posthog-node(-|$)/.test(name))
let failed = 0
for (const packageName of packageNames) {
  const { version } = json('node_modules', packageName, 'package.json')
  for (const resolution of resolutions) {
    const faults = compile(packageName, resolution)
    console.log(`${faults.length ? 'FAIL' : 'ok  '} types  posthog-node ${version}  ${resolution.name}`)
    for (const fault of faults) console.log(`     ${fault}`)
    failed += faults.length ? 1 : 0
  }
}
const total = packageNames.length * resolutions.length
console.log(`${total - failed} of ${total} combinations compile`)
process.exitCode = failed || total === 0 ? 1 : 0
