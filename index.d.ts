import type { PostHogOptions } from 'posthog-node'

/**
 * The provider interface of the installed posthog-node. Taken from its options, because not every version exports it by name.
 */
type Provider = NonNullable<PostHogOptions['flagDefinitionCacheProvider']>

/**
 * The data that posthog-node needs for local evaluation: flags, group type mapping, cohorts, and whatever else the installed version
 * uses. The same type as posthog-node's own `FlagDefinitionCacheData`.
 *
 * Fields that this package does not know are kept as they are.
 */
export type FlagDefinitions = Parameters<Provider['onFlagDefinitionsReceived']>[0]

/**
 * The type of posthog-node's option `fetch`. The global `fetch` has this type.
 */
export type Fetch = NonNullable<PostHogOptions['fetch']>

/**
 * The options of {@link FlagDefinitionCache}.
 *
 * All durations are whole milliseconds, at most a year. If an option is missing, unknown, of the wrong type or out of range, the
 * constructor throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS`. The message names the option and the values that are allowed.
 */
export interface FlagDefinitionCacheOptions {
  /**
   * The project API key that you also pass to posthog-node (`phc_…`). It is part of the name of each key in the store: all processes
   * with the same project key, prefix and store share one copy of the definitions.
   *
   * Required. At most 200 characters. Spaces, control characters and braces are not allowed.
   */
  projectKey: string

  /**
   * The store that the processes share.
   *
   * - `redis://[user:password@]host[:port][/database]`: a Redis server. The default port is 6379, the default database 0.
   * - `redis+unix:///socket[?db=database]`: a Redis server on this host, through its Unix socket.
   * - `redis-sentinel://[user:password@]host[:port][,host[:port]…][/database]?master=name`: the primary that these Sentinels monitor
   *   under this name. Each new connection asks the Sentinels again. The default port is 26379. User and password are for the primary; for
   *   the Sentinels, see `sentinelPassword`.
   * - `redis-cluster://[user:password@]host[:port][,host[:port]…]`: a Redis cluster. The hosts are some of its nodes. Database 0.
   * - `rediss` instead of `redis`: the same with TLS (not for a socket). `valkey` and `valkeys`: the same for Valkey.
   * - `file:///directory`: a directory, for processes on one host. Created with mode 0700 if it does not exist. Write `#` as `%23` and
   *   `?` as `%3F`. Symbolic links below the directory are not followed.
   * - `memory:`: only this process.
   *
   * Nothing is connected or created before the first call of a method. An empty string is the same as no `url`.
   *
   * @default the environment variable `POSTHOG_FLAG_CACHE_URL`, else `REDIS_URL`, else a directory that belongs to this user
   * alone: `posthog-flag-cache-<uid>`, mode 0700, in the system's temp directory (on Windows `%LOCALAPPDATA%\posthog-flag-cache`)
   */
  url?: string | undefined

  /**
   * The beginning of each key (in a directory: of each entry). Use different prefixes for processes that must not share definitions.
   *
   * At most 200 characters. Spaces, control characters and braces are not allowed.
   *
   * @default 'posthog:flags'
   */
  keyPrefix?: string | undefined

  /**
   * The minimum time between two fetches, however many processes poll, start, stop or crash. Use the same value as posthog-node's
   * `featureFlagsPollingInterval`. A longer value saves fetches and delays edits. A shorter value can cause more than one fetch per
   * polling interval.
   *
   * Milliseconds, at least 100. 0 is not allowed.
   *
   * @default 30_000
   */
  refreshIntervalMs?: number | undefined

  /**
   * How long a lease lasts. The leader renews it with each fetch, and releases it when it shuts down. If the leader is killed, another
   * process takes over after this time. Use a value that is longer than PostHog takes to answer.
   *
   * Milliseconds, at least `refreshIntervalMs`. 0 is not allowed.
   *
   * @default 1.5 times `refreshIntervalMs`
   */
  leaseTtlMs?: number | undefined

  /**
   * How long the store keeps the definitions after the last poll of a process that may fetch (not of a reader). So they do not expire
   * while such a process polls. With `whenUnavailable: 'stale'`, this is also the maximum age of the definitions that a process
   * evaluates while it cannot reach the store.
   *
   * Milliseconds, at least `refreshIntervalMs`. 0 is not allowed.
   *
   * @default 86_400_000 (24 hours), or `refreshIntervalMs` where that is longer
   */
  maxAgeMs?: number | undefined

  /**
   * The maximum time that a process without definitions waits while another process fetches them. After that, posthog-node fetches for
   * itself. A process without a secret key waits this long in total, and then continues without definitions.
   *
   * It is also the maximum time that a process with definitions waits for the next fetch after a failed one. After that, it continues
   * with the definitions that it has. Loading the first definitions over a slow link may also take up to this much longer.
   *
   * Milliseconds. 0: do not wait.
   *
   * @default 5_000
   */
  coldStartWaitMs?: number | undefined

  /**
   * The timeout for connecting to the server: name resolution, TCP, TLS and login together. Has no effect on `file:` and `memory:`.
   *
   * Milliseconds, at least 1. 0 is not allowed, because posthog-node itself sets no timeout when it waits for a provider.
   *
   * @default 2_000
   */
  connectTimeoutMs?: number | undefined

  /**
   * How long the server may be silent while a call waits for it. The timeout starts again whenever bytes arrive or leave, so a slow
   * link is not treated as an outage. For a directory: the timeout of one operation.
   *
   * A whole call takes at most `connectTimeoutMs` + 2 × `commandTimeoutMs`. It may take `coldStartWaitMs` longer if the process has no
   * definitions yet, or waits for another process's fetch. After a failed attempt to connect, calls fail at once until the process has
   * reconnected.
   *
   * Milliseconds, at least 1. 0 is not allowed, because posthog-node itself sets no timeout when it waits for a provider.
   *
   * @default 1_000
   */
  commandTimeoutMs?: number | undefined

  /**
   * What this process may do.
   *
   * - `'auto'`: it fetches when it is granted the lease, and publishes what it fetched.
   * - `'reader'`: it never fetches and never writes to the store, so its user needs only read permissions. Use this for a process that
   *   has a `secretKey` for other reasons. Without a `secretKey`, posthog-node only reads anyway.
   *
   * @default 'auto'
   */
  role?: 'auto' | 'reader' | undefined

  /**
   * The behaviour of this process in a long outage of the store. In the first two intervals after PostHog last confirmed the
   * definitions, it continues with those that it has, and only `onError()` reports the failure. After that:
   *
   * - `'fetch'`: `shouldFetchFlagDefinitions()` rejects with `ERR_FLAG_CACHE_UNAVAILABLE`. posthog-node reports this on
   *   `client.on('error')` and fetches for itself, as it would without a cache.
   * - `'stale'`: `shouldFetchFlagDefinitions()` resolves to `false`, and `getFlagDefinitions()` to the definitions that this process
   *   has, while they are younger than `maxAgeMs`. If they are older, or if the process has none, this is the same as `'fetch'`.
   *
   * @default 'fetch'
   */
  whenUnavailable?: 'fetch' | 'stale' | undefined

  /**
   * The behaviour of all processes while PostHog refuses the definitions to the whole project (402: its quota is exceeded). Use the
   * same value in all processes. Each process reports the refusal once, to the listeners of `onError()`. This option needs
   * `fetch: flagCache.fetch`. Without it, posthog-node drops the definitions in the process that received the 402.
   *
   * - `'keep'`: all processes keep evaluating the definitions that they have.
   * - `'clear'`: all processes drop them at their next poll, as posthog-node does without a cache.
   *
   * @default 'keep'
   */
  whenRefused?: 'keep' | 'clear' | undefined

  /**
   * Whether the definitions are compressed in the store. Every process reads both forms, whatever its own setting.
   *
   * - `'auto'`: zstd for definitions of 64 KiB or more in Redis; plain JSON in a directory.
   * - `'zstd'`: always.
   * - `'none'`: never. Use this if other programs read the key.
   *
   * @default 'auto'
   */
  compression?: 'auto' | 'zstd' | 'none' | undefined

  /**
   * Keeps a copy of the newest definitions in a file on this host. The copy helps when Redis is slow or unreachable.
   *
   * - A new process reads the copy before it asks Redis. Redis then sends only the changes, so many processes can start at once on a
   *   slow link.
   * - A new process that can reach neither Redis nor PostHog uses the copy, if the copy was confirmed less than `maxAgeMs` ago.
   *   `status().definitions.isLocalCopy` is then `true`. With `whenUnavailable: 'fetch'`, the process asks PostHog first, and needs
   *   `fetch: flagCache.fetch` to use the copy afterwards. Readers use the copy at once.
   *
   * One process per host writes each new version, in the background. It may be a process with `role: 'reader'`. The file has mode 0600.
   * A file that is corrupt, or not from this package, is ignored. The copy is never written to Redis, and is not evaluated while Redis
   * answers. Has no effect on `file:` and `memory:`.
   *
   * - `true`: the copy is in the private directory that is the default of `url`.
   * - the absolute path of a directory: created with mode 0700 if it does not exist. In a container, use a volume that outlives it.
   * - `false`: no copy.
   *
   * @default false
   */
  localCopy?: boolean | string | undefined

  /**
   * The ACL user for Redis. Overrides the user in `url`. Has no effect on `file:` and `memory:`.
   *
   * @default the user in `url`, else the server's default user
   */
  username?: string | undefined

  /**
   * The password for Redis. Overrides the password in `url`, and does not need percent-encoding. Never part of a message. Has no
   * effect on `file:` and `memory:`.
   *
   * @default the password in `url`, else none
   */
  password?: string | undefined

  /**
   * A function that returns the login, for passwords and tokens that change. It is called before every login, so it should return the
   * same credentials while they are valid. Cannot be combined with `password`. Has no effect on `file:` and `memory:`, and none on
   * logins to Sentinels. Caches in the same thread share a connection if they have the same function.
   *
   * The login fails with `ERR_FLAG_CACHE_AUTH` if the function throws, returns something else, or takes longer than
   * `connectTimeoutMs`.
   *
   * @default none
   */
  credentials?: (() => FlagCacheCredentials | Promise<FlagCacheCredentials>) | undefined

  /**
   * The ACL user for the Sentinels. Only with a Sentinel URL. Has no effect on `file:` and `memory:`.
   *
   * @default the Sentinels' default user
   */
  sentinelUsername?: string | undefined

  /**
   * The password for the Sentinels, which have their own. Never part of a message. Only with a Sentinel URL. Has no
   * effect on `file:` and `memory:`.
   *
   * @default none
   */
  sentinelPassword?: string | undefined

  /**
   * How connections are encrypted, including those to Sentinels. Only with a TLS URL, such as `rediss://`. Has no effect on `file:`
   * and `memory:`.
   *
   * @default with a TLS URL: the system's CAs, and the host name in the certificate
   */
  tls?: FlagCacheTlsOptions | undefined

  /**
   * The name in `CLIENT LIST` of the connection for commands. Without spaces. Has no effect on `file:` and `memory:`.
   *
   * @default none
   */
  clientName?: string | undefined
}

/**
 * The result of the option `credentials`.
 */
export interface FlagCacheCredentials {
  /**
   * The ACL user for Redis.
   *
   * @default the option `username`
   */
  username?: string | undefined

  /** The password or the token. Never part of a message. */
  password: string

  /**
   * When the credentials expire, in milliseconds since 1970. After half of the remaining time, and at the earliest after 1 s, the cache
   * opens a connection with new credentials. Then it closes the old one. No call waits for this.
   *
   * @default they do not expire
   */
  expiresAt?: number | undefined

  /**
   * Certificates for this login. Each field that is set overrides the same field of the option `tls`. Only with a TLS
   * URL.
   *
   * @default the option `tls`
   */
  tls?: FlagCacheTlsOptions | undefined
}

/**
 * The option `tls`. Certificates and keys are PEM text, as returned by `readFileSync(file, 'utf8')`. If one of them cannot be used (for
 * example, a text without a certificate), the constructor throws `ERR_FLAG_CACHE_OPTIONS`.
 */
export interface FlagCacheTlsOptions {
  /**
   * The CA certificates to trust, one after another. They replace the system's CAs.
   *
   * @default the system's: OpenSSL's directories, `SSL_CERT_FILE`, `SSL_CERT_DIR`; the keychain on macOS and Windows
   */
  ca?: string | undefined

  /**
   * The client certificate, followed by the intermediate certificates. Only with `key`.
   *
   * @default none
   */
  cert?: string | undefined

  /**
   * The private key of `cert`, not encrypted. Only with `cert`. Never part of a message.
   *
   * @default none
   */
  key?: string | undefined

  /**
   * The host name or address that each server's certificate must be valid for. Set it if cluster nodes or Sentinels announce addresses
   * that are not in the certificates.
   *
   * @default the server's host name or address
   */
  serverName?: string | undefined

  /**
   * Accept any certificate. An attacker between the process and the server can then read and change everything. Not for production.
   *
   * @default false
   */
  insecureSkipVerify?: boolean | undefined
}

/**
 * Shares one copy of PostHog's feature flag definitions, and one fetch per interval, between all your processes (a *fleet*).
 *
 * Pass it to posthog-node as `flagDefinitionCacheProvider`. posthog-node then calls the methods itself. Create one cache object for
 * each PostHog client, because `client.shutdown()` shuts it down.
 *
 * An error of this package never breaks flag evaluation. posthog-node reports it on `client.on('error')`, and continues with the
 * definitions that it has, or fetches for itself. All errors are {@link FlagCacheError}s.
 *
 * @example
 * ```typescript
 * import { PostHog } from 'posthog-node'
 * import { FlagDefinitionCache } from 'posthog-flag-cache'
 *
 * const flagCache = new FlagDefinitionCache({ projectKey: 'phc_…', url: process.env.REDIS_URL })
 * const posthog = new PostHog('phc_…', {
 *   secretKey: process.env.POSTHOG_SECRET_KEY,
 *   ...flagCache.clientOptions,
 * })
 * flagCache.onUpdate(() => posthog.reloadFeatureFlags())
 * ```
 */
export declare class FlagDefinitionCache implements Provider {
  /**
   * Validates the options. It opens no connection: the first call of a method does.
   *
   * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS` if an option is missing, unknown, of the wrong type or out of range
   */
  constructor(options: FlagDefinitionCacheOptions)

  /**
   * Reads the definitions from the store.
   *
   * posthog-node calls it at each poll after `shouldFetchFlagDefinitions()` resolved to `false`, and at each poll of a client without a
   * secret key. If it resolves to `undefined` or rejects, posthog-node keeps the definitions that it has. If posthog-node has none, but has
   * a secret key, it fetches for itself.
   *
   * If the store lost the definitions, or if they are corrupt, any process that has them restores them. If a reader finds no
   * definitions while another process fetches them, this method waits for them, at most `coldStartWaitMs` in total.
   *
   * While the definitions do not change, the method returns the same object. After an edit, it parses only what changed. The object
   * and its arrays are then new, but each unchanged flag or cohort is the same object as before.
   *
   * @returns the definitions, or `undefined` if the store has none. Do not modify them
   * @throws `ERR_FLAG_CACHE_UNAVAILABLE`, `ERR_FLAG_CACHE_TIMEOUT`, `ERR_FLAG_CACHE_AUTH`: the store cannot be read
   * @throws `ERR_FLAG_CACHE_CORRUPT`: the definitions in the store are corrupt, and this process has none
   * @throws `ERR_FLAG_CACHE_CLOSED` after `shutdown()`
   */
  getFlagDefinitions(): Promise<FlagDefinitions | undefined>

  /**
   * Decides whether this process fetches now.
   *
   * posthog-node calls it at the start of each poll of a client with a secret key, and fetches if it resolves to `true`. If it
   * rejects, posthog-node reports the error on `client.on('error')` and fetches too.
   *
   * In each `refreshIntervalMs`, it resolves to `true` in one process. It also does so as soon as the store has no definitions, or
   * after a failed fetch. While another process fetches, it waits for at most `coldStartWaitMs` if this process has no definitions, or
   * if the previous fetch failed. With `role: 'reader'`, it always resolves to `false`.
   *
   * @returns `true` if this process should fetch, `false` if it should use the result of `getFlagDefinitions()`
   * @throws `ERR_FLAG_CACHE_UNAVAILABLE`, `ERR_FLAG_CACHE_TIMEOUT`, `ERR_FLAG_CACHE_AUTH`, `ERR_FLAG_CACHE_READONLY`: the
   * store cannot be read and written, and this process has no definitions that it may continue with (see `whenUnavailable`)
   * @throws `ERR_FLAG_CACHE_UNAVAILABLE` also while the store cannot take the newest definitions
   * @throws `ERR_FLAG_CACHE_CLOSED` after `shutdown()`
   */
  shouldFetchFlagDefinitions(): Promise<boolean>

  /**
   * Publishes definitions to the store.
   *
   * posthog-node calls it after a fetch that returned new definitions, which posthog-node itself already uses. posthog-node does not call the method
   * after a fetch that found them unchanged. If the method rejects, posthog-node only reports the error on `client.on('error')`.
   *
   * Definitions are not stored if they come too late, because another process has taken over. If they cannot be stored now, the process
   * keeps them and publishes them at its next poll.
   *
   * @param data - the definitions from PostHog, stored as they are. A field under posthog-node's name only (`groupTypeMapping`) is also stored under the API's (`group_type_mapping`)
   * @throws `ERR_FLAG_CACHE_DATA` if `data` is not an object with an array `flags` of objects with a string `key`
   * @throws `ERR_FLAG_CACHE_TOO_LARGE` if the definitions exceed the limits (SECURITY.md)
   * @throws `ERR_FLAG_CACHE_UNAVAILABLE`, `ERR_FLAG_CACHE_TIMEOUT`, `ERR_FLAG_CACHE_AUTH`, `ERR_FLAG_CACHE_READONLY`: the
   * store cannot be written to, or this process has `role: 'reader'` (`ERR_FLAG_CACHE_READONLY`)
   * @throws `ERR_FLAG_CACHE_CLOSED` after `shutdown()`
   */
  onFlagDefinitionsReceived(data: FlagDefinitions): Promise<void>

  /**
   * Releases the lease, if this process has it, and closes the cache. The last cache of a project in a process also closes the
   * connection. The definitions stay in the store, and so does the lease of another process.
   *
   * `client.shutdown()` calls it. It never rejects, ends within the timeouts, and may be called again. After it, all other methods
   * that use the store reject with `ERR_FLAG_CACHE_CLOSED`. A process can exit without this call. The other processes then wait until its lease ends.
   */
  shutdown(): Promise<void>

  /**
   * The same as `shutdown()`, for `await using`.
   */
  [Symbol.asyncDispose](): Promise<void>

  /**
   * The global `fetch`, with one ETag for all processes. Pass it to posthog-node as its option `fetch`.
   *
   * Without it, a process that becomes the leader downloads all definitions again (10 billed requests instead of 1), and the processes
   * can miss that the definitions were changed back to an earlier version. With it, each request for this project's definitions
   * carries the ETag of the shared definitions. The rest depends on PostHog's answer:
   *
   * - Unchanged definitions (304): posthog-node gets a 200 with the shared definitions. They are the same objects as before if this
   *   process has them.
   * - New definitions (200): they are published with their ETag, as PostHog sent them. The response's `json()` parses only what changed,
   *   and returns the same as `getFlagDefinitions()`.
   * - Anything else (an error status, a network error, an answer that is not definitions): another process fetches next, and the
   *   listeners of `onError()` are called. After 402, 429 or `Retry-After`, no process with definitions calls PostHog for the time
   *   that PostHog asked for (at least an interval, at most an hour). A process without definitions may get a 503 from this function.
   * - 402: see `whenRefused`.
   *
   * All other requests pass through unchanged. If the store fails, the request for the definitions is sent anyway.
   *
   * The function is bound, so you can pass it around on its own.
   */
  readonly fetch: Fetch

  /**
   * The options that a PostHog client needs for this cache: the cache itself as `flagDefinitionCacheProvider`, `flagCache.fetch` as
   * `fetch`, and `refreshIntervalMs` as `featureFlagsPollingInterval`.
   *
   * @example
   * ```typescript
   * new PostHog('phc_…', { secretKey: 'phs_…', ...flagCache.clientOptions })
   * ```
   */
  readonly clientOptions: {
    flagDefinitionCacheProvider: FlagDefinitionCache
    fetch: Fetch
    featureFlagsPollingInterval: number
  }

  /**
   * Returns the same as `flagCache.fetch`, but based on another fetch: for example, one with a proxy or with tracing.
   *
   * @param fetch - makes the requests: the global `fetch`, or any function that posthog-node accepts as `fetch`
   * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS` if it is not a function
   *
   * @example
   * ```typescript
   * new PostHog('phc_…', { ...flagCache.clientOptions, fetch: flagCache.withFetch(tracedFetch) })
   * ```
   */
  withFetch(fetch: Fetch): Fetch

  /**
   * Reloads the client's definitions if the last reload was too long ago, and waits for the reload. Otherwise it returns at
   * once. Call it at the start of each request in a serverless function, where no timer runs between requests. Concurrent calls share
   * one reload. If the reload fails, posthog-node reports it, and the client keeps the definitions that it has.
   *
   * @param posthog - the client of this cache
   * @param maxAgeMs - the maximum age, in milliseconds
   * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS` if `posthog` is not a client, or `maxAgeMs` is not a number
   */
  ensureFresh(posthog: { reloadFeatureFlags(): Promise<void> }, maxAgeMs: number): Promise<void>

  /**
   * Calls the listener when the store has definitions that this process does not have. This happens within milliseconds after another
   * process has published them, and not only at the next poll.
   *
   * The listener is never called during a call of another method, and not for definitions that posthog-node has loaded meanwhile.
   * Several updates in quick succession may cause one call. After a lost connection, it is called if the process missed an update. If a
   * listener throws or rejects, the listeners of `onError()` get that error. A subscription does not keep the process alive.
   *
   * @param listener - called with the new version (`status().definitions.version`)
   * @returns a function that ends the subscription
   *
   * @example
   * ```typescript
   * flagCache.onUpdate(() => posthog.reloadFeatureFlags()) // reads the cache: no request to PostHog
   * ```
   */
  onUpdate(listener: (version: string) => unknown): () => void

  /**
   * Calls the listener for failures that no method reports. These are lost connections, corrupt definitions, results of a request that
   * could not be shared, refusals by PostHog, a `refreshIntervalMs` that differs from the interval of the polls, and errors of other
   * listeners. Without a listener, they are silent. An error with the same `code` is reported at most once a minute.
   *
   * If a method rejects, posthog-node reports the error on `client.on('error')` instead. A subscription does not keep the process
   * alive.
   *
   * @returns a function that ends the subscription
   */
  onError(listener: (error: FlagCacheError | Error) => unknown): () => void

  /**
   * Reports that the definitions have changed. Call it when PostHog's webhook arrives, or in a deploy hook. The next poll of this
   * process then fetches at once, even if `refreshIntervalMs` is not over. Calls of all processes within a second count as one.
   *
   * If PostHog asked for a pause, the fetch waits until the pause is over.
   *
   * @throws `ERR_FLAG_CACHE_UNAVAILABLE`, `ERR_FLAG_CACHE_TIMEOUT`, `ERR_FLAG_CACHE_AUTH`, `ERR_FLAG_CACHE_READONLY`: the
   * store cannot be written to, or this process has `role: 'reader'` (`ERR_FLAG_CACHE_READONLY`)
   * @throws `ERR_FLAG_CACHE_CLOSED` after `shutdown()`
   *
   * @example
   * ```typescript
   * await flagCache.invalidate()
   * await posthog.reloadFeatureFlags()
   * ```
   */
  invalidate(): Promise<void>

  /**
   * Returns a Fetch API handler for a webhook that PostHog calls when a flag is edited. Every process then gets the edit at once, and
   * only one of them calls PostHog. It works as a Next.js route handler, and with Hono, Bun and Deno.
   *
   * The handler answers `204` once a process has fetched the edit. If PostHog has asked for a pause, it answers `204` too, and the edit
   * arrives after the pause. It answers `503` if the edit could not be recorded in the store or could not be fetched, so that PostHog tries again. It does not
   * read the body. All requests that arrive during a fetch share one more fetch.
   *
   * @param options - `secret`: the text, in ASCII, that the header `Authorization` must contain after `Bearer `; otherwise the answer is `401`.
   * `posthog`: the client of this cache
   * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS` if one of them is missing
   *
   * @example
   * ```typescript
   * export const POST = flagCache.webhookHandler({ secret: process.env.WEBHOOK_SECRET!, posthog })
   * ```
   */
  webhookHandler(options: { secret: string; posthog: { reloadFeatureFlags(): Promise<void> } }): (request: Request) => Promise<Response>

  /**
   * Returns what this process knows as of its last contact with the store. It makes no request and never fails, so you can call it in
   * a health check.
   */
  status(): FlagCacheStatus
}

/**
 * The result of {@link FlagDefinitionCache.status}. Durations are in milliseconds.
 */
export interface FlagCacheStatus {
  /** The option `projectKey`. */
  projectKey: string
  /** The id of this cache object, unique in the fleet: `host:pid:random`. */
  worker: string
  /** The option `role`. */
  role: 'auto' | 'reader'
  /** Whether this process holds the lease, and so fetches. */
  isLeader: boolean
  /** The `worker` that holds the lease; `null` if there is none, or if it is not known. */
  leader: string | null
  /** The number of the newest grant in the fleet. Each grant increases it by one. */
  fence: number
  /** The definitions that this process has; `null` if it has none yet. */
  definitions: {
    /** The SHA-256 of their text, in hexadecimal. */
    version: string
    /** PostHog's ETag for them; `null` if they were published without `flagCache.fetch`. */
    etag: string | null
    /** The number of flags. */
    flags: number
    /** The length of their JSON text. */
    bytes: number
    /** The length in the store, compressed or not; 0 for a local copy. */
    storedBytes: number
    /** The time since PostHog last confirmed that they are current. For a local copy: the time since it was last confirmed. */
    ageMs: number | null
    /** Whether they come from the option `localCopy`, because this process could reach neither the store nor PostHog. */
    isLocalCopy: boolean
  } | null
  /** The time since a process of the fleet was last told to fetch; `null` if it is not known. */
  lastGrantMsAgo: number | null
  /** How much longer no process calls PostHog, because PostHog asked for a pause or several processes failed; `null` without a pause. */
  retryInMs: number | null
  /** The number of failed fetches of this process in a row; 0 after a success. */
  failedFetches: number
  /** The same for the whole fleet. */
  fleetFailedFetches: number
  /** The `refreshIntervalMs` that matches posthog-node's polls, if yours differs from it; `null` if they match. */
  suggestedRefreshIntervalMs: number | null
  /** How long the store took for its last answer to a call that wrote no definitions. */
  roundTripMs: number | null
  /** The store. */
  backend: {
    /** `'redis'` for Valkey too. */
    kind: 'redis' | 'directory' | 'memory'
    /** Its URL, without user and password. */
    location: string
    /** Software and version, for example `redis 7.4.1`; `null` before the first connection, and without a server. */
    server: string | null
    /** `'RESP2'` if the server lacks RESP3; `null` before the first connection, and without a server. */
    protocol: 'RESP2' | 'RESP3' | null
    /**
     * How update notifications arrive from a server. `'push'`: on the connection for commands. `'second-connection'`: the server lacks
     * RESP3. `'none'`: the server refuses to send them, or the second connection is lost; edits then arrive at the next poll. `null`
     * before the server has answered, and without a server.
     */
    notices: 'push' | 'second-connection' | 'none' | null
  }
  /** Counters, from 0 when this object is created. */
  counters: {
    /** Polls that were told to fetch. */
    grants: number
    /** Polls that were told to use the cache. */
    follows: number
    /** Polls and reads of the store that found the definitions unchanged. */
    unchanged: number
    /** Reads of the store that returned new definitions. */
    loads: number
    /** New definitions that this process published. */
    publishes: number
    /** Fetches that found the definitions unchanged. Counted only with `flagCache.fetch`. */
    confirms: number
    /** Fetched definitions that came too late, because another process had fetched newer ones. */
    superseded: number
    /** How often this process restored what the store had lost. */
    heals: number
    /** Reads of the store while waiting for another process's fetch. */
    waits: number
    /** Failures by code. */
    errors: Partial<Record<FlagCacheErrorCode, number>>
    /**
     * Flag requests that PostHog bills for the requests of this process: 10 for an answer with definitions, 1 for an answer that they
     * are unchanged. docs/operations.md explains how they are counted.
     */
    requestsBilled: number
    /** Flag requests that PostHog would have billed in addition if this process had no cache. Never decreases. */
    requestsSaved: number
  }
}

/**
 * The kind of a {@link FlagCacheError}. Codes are stable; messages may change.
 *
 * - `ERR_FLAG_CACHE_OPTIONS`: an option or an argument is missing, unknown, of the wrong type or out of range.
 * - `ERR_FLAG_CACHE_DATA`: `onFlagDefinitionsReceived()` got something other than an object with an array `flags`.
 * - `ERR_FLAG_CACHE_TOO_LARGE`: the definitions exceed the limits of what a process may load (SECURITY.md). They are not shared: each
 *   process fetches for itself.
 * - `ERR_FLAG_CACHE_UNAVAILABLE`: the store is unreachable, or it rejected a command.
 * - `ERR_FLAG_CACHE_TIMEOUT`: the store did not answer in time.
 * - `ERR_FLAG_CACHE_AUTH`: the store rejected the user or the password, or the user lacks a permission.
 * - `ERR_FLAG_CACHE_CORRUPT`: the cache's keys in the store contain something that is corrupt, or not from this package.
 * - `ERR_FLAG_CACHE_READONLY`: the store is a replica, which accepts no writes, or this process has `role: 'reader'`.
 * - `ERR_FLAG_CACHE_CLOSED`: `shutdown()` was called before.
 * - `ERR_FLAG_CACHE_API`: this process could not fetch the definitions from PostHog, or PostHog refuses them to the project (402).
 * - `ERR_FLAG_CACHE_NATIVE`: the package's binary for this platform is missing or does not load. Thrown by `import` or `require`.
 * - `ERR_FLAG_CACHE_RUNTIME`: the constructor was called in an edge runtime, a worker without Node.js or a browser.
 */
export type FlagCacheErrorCode =
  | 'ERR_FLAG_CACHE_OPTIONS'
  | 'ERR_FLAG_CACHE_DATA'
  | 'ERR_FLAG_CACHE_TOO_LARGE'
  | 'ERR_FLAG_CACHE_UNAVAILABLE'
  | 'ERR_FLAG_CACHE_TIMEOUT'
  | 'ERR_FLAG_CACHE_AUTH'
  | 'ERR_FLAG_CACHE_CORRUPT'
  | 'ERR_FLAG_CACHE_READONLY'
  | 'ERR_FLAG_CACHE_CLOSED'
  | 'ERR_FLAG_CACHE_API'
  | 'ERR_FLAG_CACHE_NATIVE'
  | 'ERR_FLAG_CACHE_RUNTIME'

/**
 * Every error of this package. Its message never contains a password.
 *
 * @example
 * ```typescript
 * flagCache.onError((error) => {
 *   if (error instanceof FlagCacheError) metrics.increment(error.code)
 * })
 * ```
 */
export declare class FlagCacheError extends Error {
  private constructor()

  /** The kind of the failure. */
  readonly code: FlagCacheErrorCode

  /** The error that caused this one, if there is one. */
  readonly cause?: unknown
}
