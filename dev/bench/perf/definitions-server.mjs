// PostHog's endpoint, as far as a fetch needs it: every request gets everything.

import { createServer } from 'node:http'

import { edit, largeDefinitions } from '../large-definitions.mjs'

/** Starts one on a free port: `{ url(projectKey), offer(n), close() }`; it answers with the definitions after `n` edits. */
export async function startDefinitionsServer(definitions) {
  const unedited = largeDefinitions(definitions)
  let set = unedited
  let edits = 0
  let body
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', etag: `"${edits}"` }).end(body)
  })
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  return {
    url: (projectKey) => `http://127.0.0.1:${server.address().port}/flags/definitions?token=${projectKey}&send_cohorts`,
    offer(n) {
      if (n < edits) [set, edits] = [unedited, 0]
      while (edits < n) set = edit(set, ++edits)
      body = Buffer.from(JSON.stringify(set))
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
