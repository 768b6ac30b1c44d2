'use strict'

const { DEFAULT_HOST, DEFAULT_TIMEOUT_MS } = require('../api.js')
const { UsageError } = require('./args.js')
const { inOurWords, MS, requestOptions } = require('./options.js')

const DEFAULT_PORT = 8787
const DEFAULT_ADDRESS = '127.0.0.1'

module.exports = {
  name: 'relay',
  summary: "serve the definitions to PostHog's SDKs in every language",
  isFleets: true,
  options: {
    port: { value: '<number>', text: `port to listen on; default: ${DEFAULT_PORT}; 0: any free port` },
    address: { value: '<ip>', text: `address to listen on; default: ${DEFAULT_ADDRESS}, this host only` },
    upstream: { value: '<url>', env: 'POSTHOG_HOST', text: `PostHog's URL; default: ${DEFAULT_HOST}` },
    'no-proxy': { text: 'answer all other requests with 404 instead of passing them on to PostHog' },
    'request-timeout-ms': { value: MS, text: `timeout for PostHog's definitions; default: ${DEFAULT_TIMEOUT_MS}` },
  },
  text: `Serves PostHog's API: set the option host of any PostHog SDK to the address of the relay. The flag definitions come from the
shared cache. The relay polls like any other process with the cache, and passes everything else (events, /flags) on to
PostHog. The secret key comes from POSTHOG_SECRET_KEY; SDKs that request definitions must send the same key.

/healthz answers 200 while the relay runs. /readyz answers 200 while it has definitions that are younger than max-age-ms.
/metrics answers with metrics for Prometheus.
SIGTERM and Ctrl-C end the relay after it has answered the running requests.`,
  exitCodes: [
    ['0', 'ended by Ctrl-C or SIGTERM'],
    ['1', 'the relay cannot listen on this address and port'],
  ],
  examples: [
    ['relay', 'for the processes on this host'],
    ['relay --address 0.0.0.0 --upstream https://eu.i.posthog.com', 'in a container, for a project in the EU'],
  ],

  async run({ values, options, output }) {
    const { secretKey, host: upstream, timeoutMs: requestTimeoutMs } = requestOptions('relay', values, { place: 'upstream' })
    const port = portOf(values.port)
    // Loaded here, so that `--help` needs no addon.
    const { close, open } = require('../relay/relay.js')
    const { Server } = require('../relay/server.js')
    const relay = open({ ...options, secretKey, upstream, requestTimeoutMs, proxy: !values['no-proxy'] }, true)
    relay.cache.onError(({ code, message }) => output.message(`${new Date().toISOString()}  [${code}] ${inOurWords(message)}`))
    const server = new Server(relay)
    const { address, family, port: taken } = await server.listen(port, values.address ?? DEFAULT_ADDRESS)
    relay.source.start()
    output.line(`listening at http://${family === 'IPv6' ? `[${address}]` : address}:${taken}`)
    await ended()
    await server.close()
    await close(relay)
    return 0
  },
}

function portOf(text = String(DEFAULT_PORT)) {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN
  if (port <= 65_535) return port
  throw new UsageError('--port needs a number from 0 to 65535')
}

/** Not `once()`: `timeout` and terminals send a signal to the process and to its group, and the second must not kill the process. */
const ended = () =>
  new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, resolve)
  })
