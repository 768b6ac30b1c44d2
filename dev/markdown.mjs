// What a Markdown page of this repository says: its code, headings and links. Reads what these pages use, not all of Markdown.

import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Every page that people read, as a path from the root. */
export function pages() {
  const pagesIn = (folder) =>
    readdirSync(`${ROOT}${folder}`, { withFileTypes: true }).flatMap((entry) => {
      if (entry.isDirectory()) return entry.name === 'node_modules' || entry.name.startsWith('.') ? [] : pagesIn(`${folder}${entry.name}/`)
      return entry.name.endsWith('.md') ? [`${folder}${entry.name}`] : []
    })
  const top = readdirSync(ROOT).filter((name) => name.endsWith('.md'))
  return [...top, ...['docs/', 'examples/', 'npm/'].flatMap(pagesIn)]
}

/**
 * `{ snippets, anchors, links }` of a page, given as its text. A snippet is `{ language, text, line, before }`: `before` is the
 * snippet between which and this one there are no more than a few words, `line` that of its first line. A link is
 * `{ target, line }`, an image too.
 */
export function readPage(markdown) {
  const lines = markdown.split('\n')
  const [snippets, links] = [[], []]
  const slugs = slugger()
  const anchors = new Set()
  let prose = ''
  for (let index = 0; index < lines.length; index += 1) {
    const [, indent, fence, language] = lines[index].match(/^( *)(`{3,})([^`]*)$/) ?? []
    if (fence) {
      const line = index + 2
      const code = []
      while (lines[++index]?.trim() !== fence) {
        if (index >= lines.length) throw new Error(`the code that begins in line ${line - 1} does not end`)
        code.push(lines[index].slice(indent.length))
      }
      const before = prose.trim() === '' || /^[^.]{1,80}:$/.test(prose.trim()) ? snippets.at(-1) : undefined
      snippets.push({ language: language.trim(), text: `${code.join('\n')}\n`, line, before })
      prose = ''
      continue
    }
    const [, heading] = lines[index].match(/^#{1,6} +(.+?) *#*$/) ?? []
    if (heading) anchors.add(slugs(heading))
    for (const [, anchor] of lines[index].matchAll(/<a (?:id|name)="([^"]+)"/g)) anchors.add(anchor)
    const text = lines[index].replace(/`[^`]*`/g, (code) => '`'.repeat(code.length))
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)(?: "[^"]*")?\)/g)) links.push({ target, line: index + 1 })
    for (const [, target] of text.matchAll(/^\[[^\]]+\]: (\S+)/g)) links.push({ target, line: index + 1 })
    for (const [, target] of text.matchAll(/ (?:src|href)="([^"]+)"/g)) links.push({ target, line: index + 1 })
    prose += `${lines[index]}\n`
  }
  return { snippets, anchors, links }
}

/** Gives headings their anchors, in the order of the page, as GitHub does. */
export function slugger() {
  const seen = new Map()
  return (heading) => {
    const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    const slug = text
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{M}\p{N}\p{Pc}\- ]/gu, '')
      .replaceAll(' ', '-')
    const times = seen.get(slug) ?? 0
    seen.set(slug, times + 1)
    return times === 0 ? slug : `${slug}-${times}`
  }
}

export const read = (path) => readFileSync(`${ROOT}${path}`, 'utf8')
