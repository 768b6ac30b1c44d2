// The strings of a JavaScript file: { label, text, parts }; `parts` is the text between values.

import { parse } from '@babel/parser'

/** Of these calls nobody reads the arguments. */
const SILENT = new Set(['require', 'startsWith', 'replaceAll'])

export function textsOfJavaScript(source) {
  const texts = []
  visit(parse(source, { sourceType: 'unambiguous' }).program, 'module')
  return texts

  function visit(node, label) {
    if (!node || typeof node.type !== 'string') return
    const parts = partsOf(node, source)
    if (parts) {
      texts.push({ label, text: parts.join(''), parts: parts.filter((_, at) => at % 2 === 0) })
      for (const expression of expressionsOf(node)) visit(expression, label)
      return
    }
    const next = labelOf(node) ?? label
    if (SILENT.has(next) && /^(Call|New)/.test(node.type)) return visit(node.callee, label)
    for (const [key, child] of Object.entries(node)) {
      // The name of a property is no text.
      if (key === 'key' && !node.computed) continue
      for (const each of Array.isArray(child) ? child : [child]) visit(each, next)
    }
  }
}

/** Text, value, text, value, …, text; `undefined` if this is no string. */
function partsOf(node, source) {
  if (node.type === 'StringLiteral') return [node.value]
  if (node.type === 'TemplateLiteral') {
    return node.quasis.flatMap(({ value }, at) => {
      const expression = node.expressions[at]
      return expression ? [value.cooked, `{${shown(source.slice(expression.start, expression.end))}}`] : [value.cooked]
    })
  }
  if (node.type !== 'BinaryExpression' || node.operator !== '+') return undefined
  const [left, right] = [partsOf(node.left, source), partsOf(node.right, source)]
  if (!left || !right) return undefined
  return [...left.slice(0, -1), left.at(-1) + right[0], ...right.slice(1)]
}

function expressionsOf(node) {
  return node.type === 'BinaryExpression' ? [node.left, node.right].flatMap(expressionsOf) : (node.expressions ?? [])
}

/** What the strings below belong to. */
function labelOf({ type, callee, arguments: given, id, key }) {
  if (type === 'CallExpression' || type === 'NewExpression') {
    const code = given.find(({ value }) => /^ERR_FLAG_CACHE_/.test(value))
    return code ? code.value.replace('ERR_FLAG_CACHE_', '') : nameOf(callee)
  }
  return nameOf(id ?? key)
}

const nameOf = (node) =>
  node?.name ?? ((node?.id ?? node?.property) ? nameOf(node.id ?? node.property) : typeof node?.value === 'string' ? node.value : undefined)

/** A value in short: its name without what is done with it. */
const shown = (code) =>
  code
    .match(/^(?:\w+\()?([\w.?]+?)(?:\.join\(.*|[,)].*| \?\?.*)?$/)?.[1]
    .split('.')
    .at(-1) ?? '…'
