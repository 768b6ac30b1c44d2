// Puts what was measured where README.md has room for it.

import { readFileSync, writeFileSync } from 'node:fs'

const README = new URL('../README.md', import.meta.url)

/** Replaces what stands between `<!-- name -->` and `<!-- /name -->`, for each name. */
export function writeReadme(parts) {
  let text = readFileSync(README, 'utf8')
  for (const [name, content] of Object.entries(parts)) {
    const [opening, closing] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
    const [from, to] = [text.indexOf(opening), text.indexOf(closing)]
    if (from < 0 || to < from) throw new Error(`README.md has no ${opening} … ${closing}`)
    text = `${text.slice(0, from + opening.length)}\n${content}\n${text.slice(to)}`
  }
  writeFileSync(README, text)
}
