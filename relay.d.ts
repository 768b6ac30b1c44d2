import type { FlagCacheError, FlagCacheStatus, FlagDefinitionCacheOptions } from 'posthog-flag-cache'

/**
 * The options of {@link createRelay}. They include those of {@link FlagDefinitionCacheOptions}: use the same values as your other
 * processes.
 *
 * If an option is missing, unknown, of the wrong type or out of range, `createRelay()` throws {@link FlagCacheError}
 * `ERR_FLAG_CACHE_OPTIONS`.
 */
export interface RelayOptions extends FlagDefinitionCacheOptions {
  /**
   * The project's secret key (`phs_…` or `phx_…`). The relay uses it to fetch. SDKs that request definitions from the relay must send
   * the same key. A project key is rejected, because it is public.
   */
  secretKey: string

  /**
   * The URL of PostHog's API in your region.
   *
   * @default 'https://us.i.posthog.com'
   */
  upstream?: string | undefined

  /**
   * Whether the relay passes requests that are not for definitions on to PostHog. If `false`, it answers them with 404.
   *
   * @default true
   */
  proxy?: boolean | undefined

  /**
   * The path at which the handler is mounted, for example `/relay`. Requests for other paths get a 404. Leave it out if your router
   * removes the prefix itself.
   *
   * @default ''
   */
  basePath?: string | undefined

  /**
   * Whether the handler may compress bodies. Set it to `true` if your server keeps the header `Content-Encoding` of a response, as Bun,
   * Deno and Hono do. Next.js removes this header, and clients then cannot read a compressed body.
   *
   * @default false
   */
  compress?: boolean | undefined

  /**
   * The timeout for a request for definitions to PostHog. Milliseconds, at least 1.
   *
   * @default 10_000
   */
  requestTimeoutMs?: number | undefined
}

/**
 * Serves PostHog's API to SDKs, with the definitions that your processes share.
 */
export interface Relay {
  /**
   * Answers a request as PostHog's API does. It answers requests for definitions from the cache, and passes all others on to PostHog.
   *
   * It does not reject if PostHog or the store is unavailable. The first call starts polling, which does not keep the process alive.
   * The function is bound, so you can pass it around on its own.
   *
   * @param request - a request of the Fetch API
   * @param info - `clientAddress`: the client's IP address, which is appended to the header `X-Forwarded-For`. Leave it out if your
   * platform sets that header
   */
  readonly fetch: (request: Request, info?: { clientAddress?: string | undefined }) => Promise<Response>

  /**
   * Returns the same as the cache's `status()`, and how many requests the relay has answered. It makes no request and never fails.
   */
  status(): RelayStatus

  /**
   * Calls the listener for failures of the store, failures of PostHog, and requests that could not be passed on. If `upstream` leads back
   * to this relay, the `code` is `ERR_FLAG_CACHE_OPTIONS`. An error with the same `code` is reported at most once a minute.
   *
   * @returns a function that ends the subscription
   */
  onError(listener: (error: FlagCacheError | Error) => unknown): () => void

  /**
   * Stops polling, releases the lease, and closes the connections to the store and to PostHog. Call it after your server has closed.
   */
  close(): Promise<void>

  /**
   * The same as `close()`, for `await using`.
   */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * The result of {@link Relay.status}. `counters.requestsSaved` counts the flag requests that PostHog would have billed for the SDKs if they
 * did not use the relay.
 */
export interface RelayStatus extends FlagCacheStatus {
  /** Counters, from 0 when the relay is created. */
  relay: {
    /** Responses to requests for definitions, by HTTP status. */
    responses: Record<200 | 204 | 304 | 401 | 402 | 405 | 503, number>
    /**
     * Requests for PostHog, by outcome. `answered`: PostHog answered. `busy`: not sent, because too many were running. `canceled`: ended by
     * the client. `timeout`: no answer in time. `unreachable`: PostHog could not be reached.
     */
    proxied: Record<'answered' | 'busy' | 'canceled' | 'timeout' | 'unreachable', number>
  }
}

/**
 * Creates a relay. It opens no connection before its first request.
 *
 * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS`
 *
 * @example
 * ```typescript
 * const relay = createRelay({ projectKey: 'phc_…', secretKey: process.env.POSTHOG_SECRET_KEY ?? '' })
 * Bun.serve({ port: 8787, fetch: relay.fetch })
 * ```
 */
export declare function createRelay(options: RelayOptions): Relay
