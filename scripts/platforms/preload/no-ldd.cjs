// As on a system that has only musl: the generated loader looks into this system's `ldd` to learn which libc there is.

const fs = require('node:fs')

const { readFileSync } = fs

fs.readFileSync = (path, ...rest) => readFileSync(path === '/usr/bin/ldd' ? '/nowhere/ldd' : path, ...rest)
