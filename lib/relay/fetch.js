'use strict'

const { Readable } = require('node:stream')

const { NO_PROXY } = require('./answers.js')
const { endToEnd } = require('./headers.js')

/** Statuses whose responses have no body. */
const WITHOUT_BODY = new Set([101, 204, 205, 304])

/** The relay as a Fetch API handler. Paths are relative to `basePath`. Without `compress`, no body has an encoding. */
function handler({ source, answers, upstream }, { basePath, compress }) {
  return async function fetch(request, info) {
    source.start()
    const target = targetOf(request.url, basePath)
    if (target === undefined) return respond(request, NO_PROXY)
    const header = (name) => (compress || name !== 'accept-encoding' ? (request.headers.get(name) ?? undefined) : undefined)
    const answer = await answers.of(request.method, target, header)
    if (answer) return respond(request, answer)
    return upstream ? pass(request, target, info?.clientAddress) : respond(request, NO_PROXY)
  }

  async function pass(request, target, clientAddress) {
    const { method, signal } = request
    // Without `content-length`, because the body is sent in chunks.
    const removed = compress ? ['content-length'] : ['content-length', 'accept-encoding']
    const headers = [...request.headers].filter(([name]) => !removed.includes(name)).flat()
    if (!compress) headers.push('accept-encoding', 'identity')
    const body = request.body ? Readable.fromWeb(request.body) : undefined
    const address = typeof clientAddress === 'string' ? clientAddress : undefined
    const { response, answer } = await upstream.send({ method, target, headers, body, address, signal })
    if (answer) return respond(request, answer)
    const list = endToEnd(response.rawHeaders)
    const received = new Headers()
    for (let at = 0; at < list.length; at += 2) received.append(list[at], list[at + 1])
    const { statusCode: status, statusMessage: statusText } = response
    const isEmpty = WITHOUT_BODY.has(status) || method === 'HEAD'
    if (isEmpty) response.resume()
    return new Response(isEmpty ? null : Readable.toWeb(response), { status, statusText, headers: received })
  }
}

/** The path below `basePath`, with the query; `undefined` for any other path. */
function targetOf(url, basePath) {
  const { pathname, search } = new URL(url)
  if (pathname !== basePath && !pathname.startsWith(`${basePath}/`)) return undefined
  return `${pathname.slice(basePath.length) || '/'}${search}`
}

function respond({ method }, { status, headers, body }) {
  return new Response(method === 'HEAD' ? null : body, { status, headers })
}

module.exports = { handler }
