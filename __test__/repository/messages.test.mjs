// messages.txt lists every text that a user can read, so that all can be read in one place.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { read } from '../../dev/markdown.mjs'
import { LIST, messages } from '../../scripts/messages.mjs'
import { textsOfJavaScript } from '../../scripts/messages/javascript.mjs'
import { textsOfRust } from '../../scripts/messages/rust.mjs'

test('the list of messages is what the sources say', () => {
  assert.equal(read(LIST), messages(), 'run `npm run messages`, and read what has changed in the list')
})

describe('a text is found, with what it belongs to and its values by name,', () => {
  const found = (texts) => texts.map(({ label, text }) => `${label}: ${text}`)

  test('in JavaScript', () => {
    const source = `
      const { a } = require('a b')
      throw new FlagCacheError('ERR_FLAG_CACHE_DATA', 'one ' + \`two \${given.name} \${work(\`in \${it}\`)}\`, cause)
      const names = { key: 'of a property' }
      function named() { return 'of a function' }
    `
    assert.deepEqual(found(textsOfJavaScript(source)), [
      'DATA: ERR_FLAG_CACHE_DATA',
      'DATA: one two {name} {…}',
      'work: in {it}',
      'key: of a property',
      'named: of a function',
    ])
  })

  test('in Rust, but for its tests', () => {
    const source = `
      #[napi(ts_return_type = "of an attribute")]
      fn named<'a>(text: &'a str) -> Error {
          // "of a comment"
          if text.contains("of the server") { let found = '"'; }
          let advice = match text { _ => "of a \\"variable\\", \\
              continued" };
          Error::new(Code::Data, format!("one {text} {} {:.2} {}", self.path.display(), in_ms(took), text))
              .advising(r#"a "raw" one"#)
      }
      #[cfg(test)]
mod tests { const TEXT: &str = "of a test"; }
    `.replaceAll('      #[cfg', '#[cfg')
    assert.deepEqual(found(textsOfRust(source)), [
      'advice: of a "variable", continued',
      'DATA: one {text} {path} {in_ms} {text}',
      'advising: a "raw" one',
    ])
  })
})
