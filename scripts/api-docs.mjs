// Writes docs/api.md from index.d.ts: `node scripts/api-docs.mjs`. A test checks that the page is up to date.

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { parse } from '@babel/parser'
import GithubSlugger from 'github-slugger'

import { read, ROOT } from '../dev/markdown.mjs'

const PAGE = 'docs/api.md'
/** The maximum length of a default in the overview of the options. */
const SHORT = 40
const HEAD = `# API

<!-- Made from index.d.ts by \`npm run docs:api\`: edit that file instead. -->

This page describes everything that \`posthog-flag-cache\` exports. It is generated from the comments in
[\`index.d.ts\`](../index.d.ts). The types of the definitions are those of the installed posthog-node.
[operations.md](operations.md) explains which values suit production.`

/** The page, given the text of index.d.ts. */
export function apiPage(source) {
  const { body } = parse(source, { sourceType: 'module', plugins: [['typescript', { dts: true }]], attachComment: true }).program
  const exported = body.filter(({ type }) => type === 'ExportNamedDeclaration').map((node) => declarationOf(node, source))
  const order = ['class', 'interface', 'type']
  const sections = exported.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind))
  const links = anchorsOf(sections)
  const text = [HEAD, contents(sections, links), ...sections.map((section) => render(section, links))].join('\n\n')
  return `${text}\n`
}

// Reading

/** `{ kind, name, doc, members }` of an exported declaration; a type has `codes` where it lists some. */
function declarationOf(node, source) {
  const { declaration } = node
  const code = ({ start, end }) => source.slice(start, end)
  const doc = docOf(node)
  const { name } = declaration.id
  switch (declaration.type) {
    case 'ClassDeclaration': {
      const members = declaration.body.body.filter(({ accessibility }) => accessibility !== 'private')
      return { kind: 'class', name, doc, parent: declaration.superClass?.name, members: members.map((member) => memberOf(member, code)) }
    }
    case 'TSInterfaceDeclaration':
      return { kind: 'interface', name, doc, members: fieldsOf(declaration.body.body, code) }
    case 'TSTypeAliasDeclaration':
      return { kind: 'type', name, doc }
    default:
      throw new Error(`${PAGE} has no room for ${declaration.type} ${name}`)
  }
}

function memberOf(member, code) {
  const doc = docOf(member)
  const name = member.computed ? `[${code(member.key)}]` : code(member.key)
  if (member.type === 'ClassProperty') {
    const [before, after] = [member.readonly ? 'readonly ' : '', member.optional ? '?' : '']
    return { name, doc, signature: `${before}${name}${after}: ${code(member.typeAnnotation.typeAnnotation)}` }
  }
  if (member.type !== 'TSDeclareMethod') throw new Error(`${PAGE} has no room for ${member.type} ${name}`)
  const parameters = member.params.map(code).join(', ')
  if (member.kind === 'constructor')
    return { name, doc, title: 'new FlagDefinitionCache()', signature: `new FlagDefinitionCache(${parameters})` }
  const result = code(member.returnType.typeAnnotation)
  return { name, doc, title: `${name}()`, signature: `${name}(${parameters}): ${result}`, isAsync: result.startsWith('Promise<') }
}

/** The fields of an interface; those of an object in it follow that, with its name before theirs. */
function fieldsOf(members, code, path = '') {
  return members.flatMap((member) => {
    const name = `${path}${code(member.key)}`
    const parts = unionOf(member.typeAnnotation.typeAnnotation)
    const inner = parts.find(({ type }) => type === 'TSTypeLiteral')
    const type = parts
      .map((part) => (part === inner ? 'object' : code(part)))
      .filter((part) => part !== 'undefined')
      .join(' | ')
    return [{ name, doc: docOf(member), type, optional: member.optional }, ...(inner ? fieldsOf(inner.members, code, `${name}.`) : [])]
  })
}

const unionOf = (type) => (type.type === 'TSUnionType' ? type.types : [type])

/** `{ text, tags: [{ tag, text }] }` of the comment before a declaration, as Markdown. */
function docOf(node) {
  const comment = node.leadingComments?.findLast(({ value }) => value.startsWith('*'))
  if (!comment) throw new Error(`line ${node.loc.start.line} of index.d.ts has no comment`)
  const lines = comment.value
    .slice(1)
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, ''))
  const [text, ...tags] = lines.join('\n').split(/^@(?=\w)/m)
  return { text: text.trim(), tags: tags.map((part) => ({ tag: part.match(/^\w+/)[0], text: part.replace(/^\w+\s*/, '').trim() })) }
}

const tagged = ({ tags }, name) => tags.filter(({ tag }) => tag === name).map(({ text }) => text)

// Writing

const titleOf = (member) => member.title ?? member.name

/** The anchor of each heading: of the types by name, of members by `Type.member` too. */
function anchorsOf(sections) {
  const slugs = new GithubSlugger()
  slugs.slug('API')
  const anchors = new Map()
  for (const { name, kind, members = [] } of sections) {
    anchors.set(name, slugs.slug(name))
    if (!hasHeadings(kind, name)) continue
    for (const member of members) anchors.set(`${name}.${member.name}`, slugs.slug(titleOf(member)))
  }
  return anchors
}

/** Options and methods are to be linked; what `status()` returns reads better as a table. */
const hasHeadings = (kind, name) => kind === 'class' || name.endsWith('Options')

function contents(sections, links) {
  return sections
    .map(({ kind, name, members = [] }) => {
      const parts = hasHeadings(kind, name)
        ? members.map((member) => `[\`${titleOf(member)}\`](#${links.get(`${name}.${member.name}`)})`)
        : []
      return `- [\`${name}\`](#${links.get(name)})${parts.length > 0 ? `: ${parts.join(' · ')}` : ''}`
    })
    .join('\n')
}

function render(section, links) {
  const { kind, name, doc, members = [], parent } = section
  const prose = (text) => linked(text, links, name)
  const parts = [`## ${name}`]
  if (parent) parts.push(`Extends \`${parent}\`.`)
  parts.push(prose(doc.text), ...tagged(doc, 'example'))
  if (kind === 'class') parts.push(...members.flatMap((member) => method(member, links, prose)))
  else if (hasHeadings(kind, name)) parts.push(options(section, links), ...members.flatMap((member) => option(member, prose)))
  else if (kind === 'interface') parts.push(fields(members, links, prose))
  return parts.join('\n\n')
}

function method(member, links, prose) {
  const { doc, signature, isAsync } = member
  // Or `[…]()` would be a link.
  const parts = [`### ${titleOf(member).replace('[', '\\[')}`, typeCode(signature, links), prose(doc.text)]
  for (const text of tagged(doc, 'param')) {
    const [, name, meaning] = text.match(/^(\w+) - (.*)$/s)
    parts.push(`**\`${name}\`**: ${prose(meaning)}.`)
  }
  for (const text of tagged(doc, 'returns')) parts.push(`**Returns** ${prose(text)}.`)
  const errors = tagged(doc, 'throws')
  if (errors.length > 0)
    parts.push(`**${isAsync ? 'Rejects with' : 'Throws'}**`, errors.map((text) => `- ${prose(text.replaceAll('\n', '\n  '))}`).join('\n'))
  return [...parts, ...tagged(doc, 'example')]
}

function options({ name, members }, links) {
  const rows = members.map((member) => {
    const anchor = links.get(`${name}.${member.name}`)
    const value = defaultOf(member)
    const [literal] = value?.match(/^`[^`]*`(?= |$)/) ?? []
    const shown = literal ?? (value.length <= SHORT ? value : `[see below](#${anchor})`)
    return [`[\`${member.name}\`](#${anchor})`, typeCode(member.type, links), shown]
  })
  return table(['option', 'type', 'default'], rows)
}

function option(member, prose) {
  const parts = [`### ${member.name}`, prose(member.doc.text)]
  return member.optional ? [...parts, `Default: ${prose(defaultOf(member))}.`] : parts
}

/** What `@default` says; a value as code. */
function defaultOf({ doc, optional }) {
  if (!optional) return 'required'
  return tagged(doc, 'default')[0].replace(/^('[^']*'|[\d_]+|true|false)(?=[ ,]|$)/, '`$1`')
}

const fields = (members, links, prose) =>
  table(
    ['field', 'type', 'meaning'],
    members.map(({ name, doc, type }) => [`\`${name}\``, typeCode(type, links), prose(doc.text).replaceAll('\n', ' ')]),
  )

function table(head, rows) {
  const line = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

/** A type or a signature as code in which the types of this page are links. */
function typeCode(code, links) {
  const names = [...links.keys()].filter((name) => !name.includes('.'))
  const pattern = new RegExp(`(?<!new )\\b(${names.join('|')})\\b`, 'g')
  if (!pattern.test(code)) return `\`${code}\``
  const escaped = code.replace(/[<>&]/g, (character) => ({ '<': '&lt;', '>': '&gt;', '&': '&amp;' })[character])
  return `<code>${escaped.replace(pattern, (name) => `<a href="#${links.get(name)}">${name}</a>`)}</code>`
}

/** The text of a comment with links to what it names, except to `own`. */
function linked(text, links, own) {
  const link = (code, anchor) => (anchor === undefined ? code : `[${code}](#${anchor})`)
  const target = (code) => {
    if (/^ERR_FLAG_CACHE_\w+$/.test(code)) return own === 'FlagCacheErrorCode' ? undefined : links.get('FlagCacheErrorCode')
    const name = code.match(/^(?:flagCache\.)?(\w+)(\(\)|: .*)?$/)?.[1]
    // In itself a plain `fetch` is the global one, and posthog-node's option.
    if (name === undefined || code === 'fetch') return undefined
    if (links.has(code)) return code === own ? undefined : links.get(code)
    const isCall = code.endsWith('()') || code.startsWith('flagCache.')
    return (
      links.get(isCall ? `FlagDefinitionCache.${name}` : `${own}.${name}`) ??
      (isCall ? undefined : links.get(`FlagDefinitionCacheOptions.${name}`))
    )
  }
  return text.replace(/\{@link (\w+)(?:\.(\w+))?\}|`([^`\n]+)`/g, (whole, type, member, code) => {
    if (code) return link(whole, target(code))
    return member ? link(`\`${member}()\``, links.get(`${type}.${member}`)) : link(`\`${type}\``, links.get(type))
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(`${ROOT}${PAGE}`, apiPage(read('index.d.ts')))
