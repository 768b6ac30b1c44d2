// Builds the published binary for Linux and holds what it asks of the system against what it promises.

import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'

import { BINARY as binary, buildRelease, GLIBC } from './build-release.mjs'

/** What glibc itself consists of: anything else would have to be installed. */
const LIBRARIES = /^(ld-linux-.*|lib(c|m|dl|pthread|rt|util)\.so)\.\d+$/

buildRelease()
const objdump = (option) => execFileSync('objdump', [option, binary], { encoding: 'utf8', maxBuffer: 2 ** 26 })

const versions = new Set(objdump('-T').match(/(?<=\bGLIBC_)[\d.]+/g))
const newest = [...versions].sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
const foreign = [...objdump('-p').matchAll(/NEEDED +(\S+)/g)].map(([, name]) => name).filter((name) => !LIBRARIES.test(name))

console.log(`${binary}: ${statSync(binary).size} bytes, needs glibc ${newest}`)
if (newest.localeCompare(GLIBC, 'en', { numeric: true }) > 0) throw new Error(`it must not need more than glibc ${GLIBC}`)
if (foreign.length) throw new Error(`it must not need ${foreign}`)
