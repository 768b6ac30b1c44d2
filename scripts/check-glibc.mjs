// Holds what the published binary for Linux asks of the system against what it promises: `node scripts/check-glibc.mjs [FILE]`.
// Without a file it is built first.

import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'

import { BINARY, buildRelease, GLIBC } from './build-release.mjs'

/** What glibc itself consists of: anything else would have to be installed. */
const LIBRARIES = /^(ld-linux-.*|lib(c|m|dl|pthread|rt|util)\.so)\.\d+$/

const [binary = BINARY] = process.argv.slice(2)
if (binary === BINARY) buildRelease()
// As `objdump -T` and `-p` would tell, which read only binaries of this machine's processor.
const facts = execFileSync('readelf', ['--version-info', '--dynamic', '--wide', binary], { encoding: 'utf8', maxBuffer: 2 ** 26 })

const compare = (one, other) => one.localeCompare(other, 'en', { numeric: true })
const newest = [...new Set(facts.match(/(?<=\bGLIBC_)[\d.]+/g))].sort(compare).at(-1)
const foreign = [...facts.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name).filter((name) => !LIBRARIES.test(name))

console.log(`${binary}: ${statSync(binary).size} bytes, needs glibc ${newest}`)
if (compare(newest, GLIBC) > 0) throw new Error(`it must not need more than glibc ${GLIBC}`)
if (foreign.length) throw new Error(`it must not need ${foreign}`)
