import type { FlagCacheError, FlagCacheStatus, FlagDefinitionCacheOptions } from 'posthog-flag-cache'

/**
 * What a relay serves, and where it gets that. The options of {@link FlagDefinitionCacheOptions} say which fleet it is a member of.
 *
 * An option that is missing, unknown, ill-typed or out of range makes `createRelay()` throw {@link FlagCacheError}
 * `ERR_FLAG_CACHE_OPTIONS`.
 */
export interface RelayOptions extends FlagDefinitionCacheOptions {
  /**
   * The secret key of the project (`phs_…` or `phx_…`), with which the relay fetches. SDKs that ask the relay for definitions must
   * send the same key.
   */
  secretKey: string

  /**
   * PostHog: the API of your region.
   *
   * @default 'https://us.i.posthog.com'
   */
  upstream?: string | undefined

  /**
   * Whether requests other than those for definitions are passed on to PostHog. If not, they get a 404.
   *
   * @default true
   */
  proxy?: boolean | undefined

  /**
   * The path at which the handler is mounted, `/relay` for example. Requests for other paths get a 404. Leave it out where your router
   * removes the prefix itself.
   *
   * @default ''
   */
  basePath?: string | undefined

  /**
   * Whether bodies may be compressed. Turn it on where your server keeps the header `Content-Encoding` of a response, as Bun, Deno and Hono
   * do. Next.js removes it, and clients could not read the body.
   *
   * @default false
   */
  compress?: boolean | undefined

  /**
   * How long PostHog may take to send definitions. Milliseconds, at least 1.
   *
   * @default 10_000
   */
  requestTimeoutMs?: number | undefined
}

/**
 * A member of the fleet that serves PostHog's API to SDKs.
 */
export interface Relay {
  /**
   * Answers a request as PostHog's API does: definitions from the cache, everything else by passing it on.
   *
   * It never rejects because PostHog or the store is unavailable. The first call begins to poll; that does not keep the process
   * alive. Bound: it can be passed around on its own.
   *
   * @param request - a request of the Fetch API
   * @param info - `clientAddress`: the client's IP address. It is appended to the header `X-Forwarded-For`. Leave it out where your
   * platform sets that header.
   */
  readonly fetch: (request: Request, info?: { clientAddress?: string | undefined }) => Promise<Response>

  /**
   * What the relay knows as a member of the fleet, and what it has answered. Never fails.
   */
  status(): RelayStatus

  /**
   * Calls the listener for failures: of the store, of PostHog, of requests that could not be passed on. An error with the same `code`
   * comes once a minute at most.
   *
   * @returns a function that ends the subscription
   */
  onError(listener: (error: FlagCacheError | Error) => unknown): () => void

  /**
   * Stops polling, leaves the fleet, and closes the connections to PostHog. Call it after your server has closed.
   */
  close(): Promise<void>

  /**
   * The same as `close()`, for `await using`.
   */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * See {@link Relay.status}. `counters.requestsSaved` counts what the relay's clients would have been billed without it.
 */
export interface RelayStatus extends FlagCacheStatus {
  /** What the relay has answered since it was made. */
  relay: {
    /** Responses to requests for definitions, by HTTP status. */
    responses: Record<200 | 204 | 304 | 401 | 402 | 405 | 503, number>
    /**
     * Requests passed on to PostHog, by outcome: `answered` by PostHog, not sent because too many were under way (`busy`), ended by the
     * client (`canceled`), no answer in time (`timeout`), PostHog could not be reached (`unreachable`).
     */
    proxied: Record<'answered' | 'busy' | 'canceled' | 'timeout' | 'unreachable', number>
  }
}

/**
 * Makes a relay. Nothing is connected before its first request.
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
