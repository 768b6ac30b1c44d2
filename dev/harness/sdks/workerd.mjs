// posthog-node's edge entry in workerd, the runtime of Cloudflare Workers.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { npmPackages } from '../../../scripts/npm-packages.mjs'

const PROGRAM = fileURLToPath(new URL('worker.mjs', import.meta.url))

/** Fetches workerd once. */
export const installWorkerd = () => npmPackages('workerd')

/** It polls `host` when it is told to `load`: `{ ask(command, argument), close() }`. */
export async function startWorkerd({ host, api }) {
  const require = createRequire(join(installWorkerd(), 'package.json'))
  const { outputFiles } = await require('esbuild').build({
    entryPoints: [PROGRAM],
    bundle: true,
    format: 'esm',
    conditions: ['workerd', 'worker'],
    external: ['node:*'],
    write: false,
  })
  const worker = new (require('miniflare').Miniflare)({
    modules: [{ type: 'ESModule', path: 'worker.mjs', contents: outputFiles[0].text }],
    compatibilityDate: '2026-01-01',
    bindings: { HOST: host, PROJECT_KEY: api.projectKey, SECRET_KEY: api.secretKey },
  })
  return {
    async ask(...command) {
      const response = await worker.dispatchFetch('http://worker.example/', { method: 'POST', body: JSON.stringify(command) })
      return response.json()
    },
    close: () => worker.dispose(),
  }
}
