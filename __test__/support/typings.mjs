// What index.d.ts documents of the options. tests/it/options/typings.rs holds the same text to the engine.

import { readFileSync } from 'node:fs'

export const typings = readFileSync(new URL('../../index.d.ts', import.meta.url), 'utf8')

/** The documentation of each member of an interface, by its name. */
function documentedIn(name) {
  const [body] = typings.split(`export interface ${name} {`)[1].split('\n}\n')
  return new Map([...body.matchAll(/\/\*\*(.*?)\*\/\s*(\w+)\??:/gs)].map(([, text, member]) => [member, text]))
}

export const OPTIONS = documentedIn('FlagDefinitionCacheOptions')
export const TLS_OPTIONS = documentedIn('FlagCacheTlsOptions')

/** The default, where it is a word or a number. */
export function defaultOf(text) {
  const [, word, number] = text.match(/@default (?:'([^']*)'|([\d_]+)(?=\s|$))/) ?? []
  return word ?? (number && Number(number.replaceAll('_', '')))
}
