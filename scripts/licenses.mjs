// Writes THIRD_PARTY_LICENSES, which every binary package ships: `npm run licenses`, whenever Cargo.lock changes.
//
// It is committed, because building cargo-about takes minutes; __test__/repository/licenses.test.mjs holds it against Cargo.lock.

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

import { cargoTool, ROOT } from './cargo-tool.mjs'

/** Licences of code that a crate bundles, beside those that its `license` names. */
const BUNDLED = {
  ring: ['third_party/fiat/LICENSE', 'src/polyfill/once_cell/LICENSE-MIT'],
}
const RULE = '='.repeat(80)

const { name, napi } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
const cargoAbout = cargoTool('cargo-about', '0.9.3', ['cli'])
const args = ['generate', '--locked', '--fail', '--format', 'json', ...napi.targets.flatMap((target) => ['--target', target])]
const about = JSON.parse(
  execFileSync(cargoAbout, args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 2 ** 26, stdio: ['ignore', 'pipe', 'inherit'] }),
)
const crates = about.crates.filter((crate) => crate.package.name !== name)

const label = (crate) => `${crate.name} ${crate.version}`

/** Of a crate without a licence file cargo-about has the text, but not the holders. */
function holders({ text, source_path: path, used_by: users }) {
  if (path) return text
  const authors = users.flatMap(({ crate }) => (crate.authors.length > 0 ? crate.authors : [`the ${crate.name} contributors`]))
  return text.replace(/<year> <(copyright holders|owner)>\.?/, [...new Set(authors)].join(', '))
}

const sections = about.licenses.map((license) => ({
  title: license.name,
  users: license.used_by
    .map(({ crate }) => crate)
    .filter((crate) => crate.name !== name)
    .map(label),
  text: holders(license),
}))

for (const [owner, files] of Object.entries(BUNDLED)) {
  const crate = crates.map((entry) => entry.package).find((entry) => entry.name === owner)
  for (const file of files) {
    const text = readFileSync(join(dirname(crate.manifest_path), file), 'utf8')
    sections.push({ title: `${file}, bundled in ${owner}`, users: [label(crate)], text })
  }
}

// The Rust project licenses its standard library as it does this crate.
const rust = sections.find(
  ({ users, text }) => text.includes('The Rust Project Developers') && users.some((user) => user.startsWith('libc ')),
)
rust.users.push('the Rust standard library')

const list = crates.map((crate) => `${label(crate.package)}: ${crate.license}`).sort()
const parts = [
  `The binary of ${name} contains the Rust standard library and the following crates. Their licences follow.\n\n${list.join('\n')}\n`,
  ...sections
    .filter(({ users }) => users.length > 0)
    .map(({ title, users, text }) => `${title}\n\nUsed by: ${users.join(', ')}\n\n${text.replaceAll('\r\n', '\n').trim()}\n`),
]
writeFileSync(join(ROOT, 'THIRD_PARTY_LICENSES'), parts.join(`\n${RULE}\n\n`))
