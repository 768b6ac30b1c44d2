// Compiles the snippets of the docs, each as a module of its own, against index.d.ts and the installed posthog-node.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { read, ROOT } from '../../../dev/markdown.mjs'

/** Inside the package, so that a compiled snippet imports it, and what it depends on, by name. */
const FOLDER = join(ROOT, 'target/test-docs')
/** Languages, and the file that TypeScript takes for each. */
const EXTENSIONS = { js: 'mjs', javascript: 'mjs', cjs: 'cjs', ts: 'mts', typescript: 'mts', tsx: 'tsx' }

export const LANGUAGES = Object.keys(EXTENSIONS)

/** Whether a snippet stands for itself. Others are parts of a program, and use the names of `fragments.d.ts`. */
export const isWhole = ({ text }) => /from '(posthog-flag-cache|posthog-node)'|require\('(posthog-flag-cache|posthog-node)'\)/.test(text)

/** Whether it is a CommonJS module. */
const isCommonJs = ({ text }) => /\brequire\(/.test(text) && !/^import /m.test(text)

/** `[{ snippet, faults, file }]`, `file` being what it was compiled to. */
export function compile(snippets) {
  rmSync(FOLDER, { recursive: true, force: true })
  const compiled = snippets.map((snippet) => {
    const extension = isCommonJs(snippet) ? 'cjs' : EXTENSIONS[snippet.language]
    const folder = isWhole(snippet) ? 'whole' : 'fragments'
    const name = `${snippet.page.replaceAll('/', '-').replace(/\.md$/, '')}-${snippet.line}`
    return {
      snippet,
      folder,
      source: `${name}.${extension}`,
      file: join(FOLDER, 'out', folder, `${name}.${extension.replace('ts', 'js')}`),
    }
  })
  for (const folder of ['whole', 'fragments']) {
    mkdirSync(join(FOLDER, folder), { recursive: true })
    const own = compiled.filter((one) => one.folder === folder)
    for (const { snippet, source } of own) {
      // Else it is a script, whose names would meet those of the others.
      const end = source.endsWith('.cjs') ? '' : 'export {}\n'
      writeFileSync(join(FOLDER, folder, source), `${snippet.text}${end}`)
    }
    const errors = tsc(
      folder,
      own.map(({ source }) => source),
    )
    for (const one of own) {
      const place = `${folder}/${one.source}`
      one.faults = errors
        .filter(({ file }) => file === place)
        .map(({ line, text }) => `${one.snippet.page}:${one.snippet.line - 1 + line}: ${text}`)
    }
    const others = errors.filter(({ file }) => !own.some(({ source }) => file === `${folder}/${source}`))
    if (others.length > 0) throw new Error(others.map(({ file, line, text }) => `${file}:${line}: ${text}`).join('\n'))
  }
  return compiled
}

function tsc(folder, sources) {
  if (sources.length === 0) return []
  const config = join(FOLDER, `tsconfig.${folder}.json`)
  const { types } = JSON.parse(read('node_modules/posthog-node/package.json'))
  const up = '../../'
  const settings = {
    extends: `${up}__test__/types/tsconfig.json`,
    compilerOptions: {
      module: 'nodenext',
      target: 'es2022',
      lib: ['es2023'],
      jsx: 'preserve',
      noEmit: false,
      allowJs: true,
      checkJs: true,
      // What the docs leave to the reader, the type of a parameter in JavaScript for example.
      noImplicitAny: false,
      exactOptionalPropertyTypes: false,
      skipLibCheck: true,
      rootDir: FOLDER,
      outDir: join(FOLDER, 'out'),
      paths: { 'posthog-flag-cache': [`${up}index.d.ts`], 'posthog-node': [`${up}node_modules/posthog-node/${types}`] },
      typeRoots: [`${up}node_modules/@types`],
    },
    files: [
      ...sources.map((source) => `${folder}/${source}`),
      ...(folder === 'fragments' ? [`${up}__test__/docs/support/fragments.d.mts`] : []),
    ],
  }
  writeFileSync(config, JSON.stringify(settings))
  const bin = JSON.parse(readFileSync(join(ROOT, 'node_modules/typescript/package.json'), 'utf8')).bin.tsc
  const args = [join(ROOT, 'node_modules/typescript', bin), '--project', config, '--pretty', 'false']
  const { stdout, stderr, error } = spawnSync(process.execPath, args, { cwd: FOLDER, encoding: 'utf8' })
  if (error) throw error
  const output = stdout + stderr
  const errors = [...output.matchAll(/^(\S+?)\((\d+),\d+\): (error TS\d+: .*(?:\n .*)*)/gm)]
  if (output.trim() !== '' && errors.length === 0) throw new Error(output)
  return errors.map(([, file, line, text]) => ({ file, line: Number(line), text }))
}
