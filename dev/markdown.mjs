// What a Markdown page of this repository says: its code, headings and links.

import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import GithubSlugger from 'github-slugger'
import { fromMarkdown } from 'mdast-util-from-markdown'

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
  const [snippets, links] = [[], []]
  const slugs = new GithubSlugger()
  const anchors = new Set()
  let endOfLast = 0
  for (const node of nodesIn(fromMarkdown(markdown))) {
    const { start, end } = node.position
    const addLink = (target) => links.push({ target, line: start.line })
    if (node.type === 'code') {
      const words = markdown.slice(endOfLast, start.offset).trim()
      const before = /^([^.]{1,80}:)?$/.test(words) ? snippets.at(-1) : undefined
      snippets.push({ language: node.lang ?? '', text: `${node.value}\n`, line: start.line + 1, before })
      endOfLast = end.offset
    } else if (node.type === 'heading') {
      anchors.add(slugs.slug(textOf(node)))
    } else if (node.type === 'html') {
      for (const [, anchor] of node.value.matchAll(/<a (?:id|name)="([^"]+)"/g)) anchors.add(anchor)
      for (const [, target] of node.value.matchAll(/ (?:src|href)="([^"]+)"/g)) addLink(target)
    } else if (node.url !== undefined) {
      addLink(node.url)
    }
  }
  return { snippets, anchors, links }
}

/** In the order of the page. */
const nodesIn = (node) => [node, ...(node.children ?? []).flatMap(nodesIn)]

const textOf = ({ type, value = '', children = [] }) => (type === 'html' ? '' : value + children.map(textOf).join(''))

export const read = (path) => readFileSync(`${ROOT}${path}`, 'utf8')
