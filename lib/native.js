'use strict'

const { FlagCacheError } = require('./error.js')

/** The platforms with a package in `npm/`. */
const PLATFORMS = ['linux-x64-gnu', 'linux-x64-musl', 'linux-arm64-gnu', 'linux-arm64-musl', 'darwin-x64', 'darwin-arm64', 'win32-x64-msvc']

/** How a package with a binary looks after bundling. */
const BUNDLED =
  'a bundler packed the code of posthog-flag-cache without its binary. Leave the package out of the bundle (Next.js: ' +
  'serverExternalPackages; esbuild: --external:posthog-flag-cache), or pack the binary as docs/faq.md describes (How do I use it with a bundler?).'

/** Explains why the generated loader could not load the addon, and what to do. The causes of its error list its attempts. */
function explain(error) {
  const { platform, arch } = process
  const libc = libcOf(platform)
  const here = `${platform} ${arch}${libc && ` with ${libc}`}`
  const given = process.env.NAPI_RS_NATIVE_LIBRARY_PATH
  const causes = chain(error)
  if (given) {
    return (
      `cannot load ${given}, which NAPI_RS_NATIVE_LIBRARY_PATH names, on ${here}: ${firstLine(causes.at(-1))}. ` +
      'Correct this variable, or unset it to load the installed binary.'
    )
  }
  const suffix = { 'linux glibc': '-gnu', 'linux musl': '-musl', win32: '-msvc' }[libc ? `${platform} ${libc.split(' ')[0]}` : platform]
  const name = `${platform}-${arch}${suffix ?? ''}`
  if (!PLATFORMS.includes(name)) {
    return (
      `posthog-flag-cache has no binary for ${here}, only for ${PLATFORMS.join(', ')}. You can build one with Rust in a clone of ` +
      'the repository (npm ci && npm run build). Then set NAPI_RS_NATIVE_LIBRARY_PATH to the .node file.'
    )
  }
  // esbuild's replacement for `require`, and Node.js's in a single executable application.
  if (causes.some(({ message }) => /^(Dynamic require of |No such built-in module)/.test(message))) return BUNDLED
  if (causes.some(({ message }) => message.includes('loading addons is disabled'))) {
    return 'Node.js may not load native addons in this process. Start it with --allow-addons (beside --permission), and without --no-addons.'
  }
  const refused = causes.find(({ message }) => !/^Cannot find (module|package|native binding)/.test(message))
  if (refused) {
    return (
      `the binary for ${here} is installed, but cannot be loaded: ${firstLine(refused)}. On Linux, it needs glibc 2.17 or newer, or musl 1.2. ` +
      'If node_modules comes from another machine, install the packages again on this one.'
    )
  }
  return (
    `the package posthog-flag-cache-${name}, with the binary for ${here}, is not installed. Install the packages again on this ` +
    'platform, with optional dependencies (without --omit=optional or --no-optional). If node_modules or the lock file comes from ' +
    'another platform, delete node_modules first, and the lock file if that is not enough. If a bundler packed the code, leave ' +
    'posthog-flag-cache out of the bundle (Next.js: serverExternalPackages; esbuild: external).'
  )
}

function libcOf(platform) {
  if (platform !== 'linux') return ''
  // Listing the network interfaces can take seconds.
  process.report.excludeNetwork = true
  const { header } = process.report.getReport()
  return header.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'musl'
}

function chain(error) {
  const errors = []
  for (let at = error; at instanceof Error; at = at.cause) errors.push(at)
  return errors
}

const firstLine = ({ message }) => message.split('\n', 1)[0].replace(/\.$/, '')

function load() {
  let native
  try {
    native = require('../native.js')
  } catch (cause) {
    throw new FlagCacheError('ERR_FLAG_CACHE_NATIVE', explain(cause), cause)
  }
  // esbuild's loader `file` replaces the binary with its file name.
  if (!native.NativeProvider) throw new FlagCacheError('ERR_FLAG_CACHE_NATIVE', BUNDLED)
  return native
}

module.exports = load()
