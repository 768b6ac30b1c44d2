// Puts what was measured where a document has room for it.

import { readFileSync, writeFileSync } from 'node:fs'

/** In `file` of the repository, replaces what stands between `<!-- name -->` and `<!-- /name -->`, for each name. */
export function writeDocs(file, parts) {
  const url = new URL(`../../${file}`, import.meta.url)
  let text = readFileSync(url, 'utf8')
  for (const [name, content] of Object.entries(parts)) {
    const [opening, closing] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
    const [from, to] = [text.indexOf(opening), text.indexOf(closing)]
    if (from < 0 || to < from) throw new Error(`${file} has no ${opening} … ${closing}`)
    text = `${text.slice(0, from + opening.length)}\n${content}\n${text.slice(to)}`
  }
  writeFileSync(url, text)
}
