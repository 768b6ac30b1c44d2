// The strings of a Rust file, but for its tests: { label, text, parts }; `parts` is the text between values.

const TOKEN =
  /\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/|(?<raw>b?r(?<hashes>#*)"[\s\S]*?"\k<hashes>)|(?<string>b?"(?:\\[\s\S]|[^"\\])*")|b?'(?:\\.[^']*|[^'\\])'|'\w+|(?<word>[\w]+!?(?=\W))|(?<mark>::|=>|[\s\S])/gy

const FORMATTING = new Set(['format!', 'write!', 'writeln!', 'panic!'])
/** Of these calls nobody reads the arguments. */
const SILENT = new Set(['contains', 'starts_with', 'ends_with', 'strip_prefix', 'find', 'rfind', 'cmd', 'expect'])
/** These say nothing of the string within. */
const PLAIN = new Set([
  'Some',
  'Ok',
  'Err',
  'into',
  'if',
  'match',
  'for',
  'while',
  'in',
  'return',
  'new',
  'let',
  'vec!',
  'ok_or_else',
  'map_err',
])

export function textsOfRust(source) {
  const [code] = source.split(/^#\[cfg\(test\)\]\nmod tests/m)
  const tokens = [...code.matchAll(TOKEN)]
    .map(({ groups, 0: text }) => ({ ...groups, text }))
    .filter(({ raw, string, word, mark }) => raw ?? string ?? word ?? mark)
  const texts = []
  // What is open: each with the label of its strings, and whether they are attributes, or of a silent call.
  const open = [{ label: 'module' }]
  let declared
  for (let at = 0; at < tokens.length; at += 1) {
    const { raw, string, word, mark } = tokens[at]
    const frame = open.at(-1)
    if (raw ?? string) {
      if (!frame.isSilent) texts.push(textOf(tokens, at, frame))
    } else if (['let', 'const', 'static', 'fn'].includes(word) && /^\w+$/.test(nameAfter(tokens, at) ?? '')) {
      declared = nameAfter(tokens, at)
      frame.label = declared
    } else if (/^[([{]$/.test(mark)) {
      open.push(frameOf(tokens, at, frame))
    } else if (/^[)\]}]$/.test(mark)) {
      open.pop()
    }
  }
  return texts
}

const nameAfter = (tokens, at) => tokens.slice(at + 1, at + 3).find(({ word }) => word && word !== 'mut')?.word

function frameOf(tokens, at, parent) {
  const { word } = tokens[at - 1] ?? {}
  const isAttribute = tokens[at].text === '[' && ['#', '!'].includes(tokens[at - 1]?.text)
  const inherited = { label: parent.label, isSilent: parent.isSilent || isAttribute }
  if (tokens[at].text !== '(' || !word || tokens[at - 2]?.word === 'fn') return inherited
  if (SILENT.has(word)) return { ...inherited, isSilent: true }
  if (FORMATTING.has(word)) return { ...inherited, isFormat: true }
  const path = [word]
  for (let back = at - 2; tokens[back]?.text === '::' && tokens[back - 1]?.word; back -= 2) path.unshift(tokens[back - 1].word)
  const code = codeAfter(tokens, at)
  if (code) return { ...inherited, label: code }
  return PLAIN.has(word) && path.length === 1 ? inherited : { ...inherited, label: path.slice(-2).join('::') }
}

/** The code among the arguments of this call. */
function codeAfter(tokens, at) {
  const [first, second, third] = tokens.slice(at + 1, at + 4)
  return first?.word === 'Code' && second?.text === '::' ? third.word.toUpperCase() : undefined
}

function textOf(tokens, at, { label, isFormat }) {
  const written = tokens[at].raw ?? tokens[at].string
  const content = written.slice(written.indexOf('"') + 1, written.lastIndexOf('"'))
  const text = tokens[at].raw ? content : content.replace(/\\(?:\n\s*|u\{([0-9a-f]+)\}|(.))/g, (_, code, one) => unescaped(code, one))
  if (!isFormat) return { label, text, parts: [text] }
  const given = argumentsAfter(tokens, at)
  const pieces = text.split(/\{(\w*)(?::[^}]*)?\}/).map((piece, index) => (index % 2 === 0 ? piece : `{${piece || given.shift() || '…'}}`))
  return { label, text: pieces.join(''), parts: pieces.filter((_, index) => index % 2 === 0) }
}

function unescaped(code, one) {
  if (code) return String.fromCodePoint(Number.parseInt(code, 16))
  return one ? ({ n: '\n', t: '\t', r: '\r', 0: '\0' }[one] ?? one) : ''
}

/** The arguments of a macro after its text, each in short. */
function argumentsAfter(tokens, at) {
  const given = []
  let depth = 0
  for (const { text } of tokens.slice(at + 1)) {
    if (/^[([{]$/.test(text)) depth += 1
    if (/^[)\]}]$/.test(text)) depth -= 1
    if (depth < 0) break
    if (depth === 0 && text === ',') given.push([])
    else if (given.length > 0) given.at(-1).push(text)
  }
  return given.map((code) => shown(code.join('')))
}

/** Functions that only convert a value. */
const CONVERSIONS = /^(display|fault|join|(as|to|unwrap|saturating)_\w+)$/

/** A value in short: its name, or that of the function that makes it. */
function shown(code) {
  const [, path = '…', call] = code.match(/^&?([\w.]+)(\()?/) ?? []
  const names = path.split('.')
  return names.at(call && CONVERSIONS.test(names.at(-1)) ? -2 : -1)
}
