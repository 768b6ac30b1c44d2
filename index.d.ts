import type { PostHogOptions } from 'posthog-node'

/**
 * The provider interface of the posthog-node that is installed. Taken from its options, because not every version exports it
 * by name.
 */
type Provider = NonNullable<PostHogOptions['flagDefinitionCacheProvider']>

/**
 * The complete set of data that posthog-node needs for local evaluation: flags, group type mapping, cohorts, and whatever the
 * installed version adds to them. The same type as posthog-node's own `FlagDefinitionCacheData`.
 *
 * Fields that this package does not know are kept as they are.
 */
export type FlagDefinitions = Parameters<Provider['onFlagDefinitionsReceived']>[0]

/**
 * A fetch as posthog-node takes it in its option `fetch`; the global `fetch` is one.
 */
export type Fetch = NonNullable<PostHogOptions['fetch']>

/**
 * What a {@link FlagDefinitionCache} shares, where, and how patiently.
 *
 * All durations are whole milliseconds, of a year at most. An option that is missing, unknown, ill-typed or out of range makes
 * the constructor throw {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS`, which names the option and what is allowed.
 */
export interface FlagDefinitionCacheOptions {
  /**
   * The project API key that you also give to posthog-node (`phc_…`). Namespaces everything that is stored: all processes
   * with the same key, prefix and store share one copy of the definitions.
   *
   * Required. At most 200 characters, without blanks, control characters and braces.
   */
  projectKey: string

  /**
   * Where the fleet keeps what it shares.
   *
   * - `redis://[user:password@]host[:port][/database]`: a Redis server. Port 6379, database 0 unless given.
   * - `redis+unix:///socket[?db=database]`: a Redis server of this host, over its Unix socket.
   * - `redis-sentinel://[user:password@]host[:port][,host[:port]…][/database]?master=name`: the master that these sentinels know
   *   under this name, looked up anew at each connect. Port 26379. User and password are for the master; see
   *   `sentinelPassword`.
   * - `redis-cluster://[user:password@]host[:port][,host[:port]…]`: a Redis cluster, of which these are some nodes. Database 0.
   * - `rediss` instead of `redis`: the same over TLS (not over a socket). `valkey` and `valkeys`: the same for Valkey.
   * - `file:///directory`: a directory on this host, for processes of one machine. Created (mode 0700) if it does not exist. Write `#` as
   *   `%23` and `?` as `%3F`; symbolic links below the directory are not followed.
   * - `memory:`: this process only.
   *
   * Nothing is connected or created before the first call of a method. An empty text is the same as no `url`.
   *
   * @default the environment variable `POSTHOG_FLAG_CACHE_URL`, else `REDIS_URL`, else a directory that belongs to this user
   * alone: `posthog-flag-cache-<uid>`, mode 0700, in the system's temp directory
   */
  url?: string | undefined

  /**
   * Begins the name of every key (in a directory: of every entry). Fleets that must not share get different prefixes.
   *
   * At most 200 characters, without blanks, control characters and braces.
   *
   * @default 'posthog:flags'
   */
  keyPrefix?: string | undefined

  /**
   * The fleet fetches at most once in this interval, however many processes poll, start, stop or crash. Set it to
   * posthog-node's `featureFlagsPollingInterval`: shorter has no effect, longer saves fetches and delays edits.
   *
   * Milliseconds, at least 100. 0 is not allowed.
   *
   * @default 30_000
   */
  refreshIntervalMs?: number | undefined

  /**
   * How long the process that fetched last remains the one that fetches, unless it shuts down. When it dies instead, the
   * others wait for so long before one of them takes over. Keep it longer than PostHog takes to answer.
   *
   * Milliseconds, at least `refreshIntervalMs`. 0 is not allowed.
   *
   * @default 1.5 times `refreshIntervalMs`
   */
  leaseTtlMs?: number | undefined

  /**
   * How long the store keeps the definitions after the last fetch, one that found them unchanged included: they do not
   * expire while anyone polls. With `whenUnavailable: 'stale'` also how old the definitions of a process may become while
   * it cannot reach the store.
   *
   * Milliseconds, at least `refreshIntervalMs`. 0 is not allowed.
   *
   * @default 86_400_000 (24 hours), or `refreshIntervalMs` where that is longer
   */
  maxAgeMs?: number | undefined

  /**
   * How long a process without definitions waits at most while another one is fetching them. When the time is over,
   * posthog-node fetches for itself, or, without a key, goes on without definitions.
   * After a fetch has failed, a process with definitions waits as long for the next one, and then goes on with those it has.
   * Loading the first definitions over a slow link may take as long more, too.
   *
   * Milliseconds. 0: never wait.
   *
   * @default 5_000
   */
  coldStartWaitMs?: number | undefined

  /**
   * Limit for connecting to the server: resolving its name, TCP and login together. Has no effect on `file:` and `memory:`.
   *
   * Milliseconds, at least 1. 0 is not allowed: posthog-node waits for a provider without a limit of its own.
   *
   * @default 2_000
   */
  connectTimeoutMs?: number | undefined

  /**
   * How long the server may be silent while a call waits for it. It starts again whenever bytes arrive or leave, so a
   * slow link is not an outage. For a directory: the limit for one operation.
   *
   * A whole call takes `connectTimeoutMs` + 2 × `commandTimeoutMs` at most, and `coldStartWaitMs` more in a process that
   * has no definitions yet or waits for another process's fetch. After a failed attempt to connect, calls fail at once until
   * the connection is back.
   *
   * Milliseconds, at least 1. 0 is not allowed: posthog-node waits for a provider without a limit of its own.
   *
   * @default 1_000
   */
  commandTimeoutMs?: number | undefined

  /**
   * What this process may do.
   *
   * - `'auto'`: fetches when it is granted the lease, and publishes what it fetched.
   * - `'reader'`: never fetches and never writes, so an account with read rights is enough. For processes that have a
   *   `secretKey` for other reasons; without one, posthog-node only reads anyway.
   *
   * @default 'auto'
   */
  role?: 'auto' | 'reader' | undefined

  /**
   * What this process does in a long outage of the store. For two intervals after PostHog last confirmed the definitions, it goes on
   * with those that it holds, and only `onError()` reports the failure. After that:
   *
   * - `'fetch'`: `shouldFetchFlagDefinitions()` rejects with `ERR_FLAG_CACHE_UNAVAILABLE`. posthog-node reports that on
   *   `client.on('error')` and fetches for itself, as if it had no cache.
   * - `'stale'`: it resolves to `false`, and `getFlagDefinitions()` to what this process holds, while that is younger than
   *   `maxAgeMs`; after that, and before the process holds any definitions, the same as `'fetch'`.
   *
   * @default 'fetch'
   */
  whenUnavailable?: 'fetch' | 'stale' | undefined

  /**
   * What the fleet does while PostHog refuses the definitions to the whole project (402: its quota is exceeded). Set it alike in all
   * processes. Each process reports the refusal once, to the listeners of `onError()`. Needs `fetch: flagCache.fetch`: without it,
   * posthog-node drops the definitions in the process that was refused.
   *
   * - `'keep'`: all processes keep evaluating the definitions that they have.
   * - `'clear'`: all processes drop them at their next poll, as posthog-node does by itself.
   *
   * @default 'keep'
   */
  whenRefused?: 'keep' | 'clear' | undefined

  /**
   * Whether the definitions are compressed in the store. Every process reads both forms, whatever its own setting.
   *
   * - `'auto'`: with zstd from 64 KiB on, where they cross a network; plain JSON in a directory.
   * - `'zstd'`: always.
   * - `'none'`: never. For other programs that read the key.
   *
   * @default 'auto'
   */
  compression?: 'auto' | 'zstd' | 'none' | undefined

  /**
   * Keeps a copy of the newest definitions in a file on this host, for the time when Redis is slow or cannot be reached.
   *
   * - A new process reads the copy before it asks Redis. Redis then sends only what has changed, so that many processes can
   *   start at once over a narrow line.
   * - If a new process can reach neither Redis nor PostHog, it starts with the copy, provided that the copy was confirmed less than
   *   `maxAgeMs` ago. `status().definitions.isLocalCopy` is then `true`. With `whenUnavailable: 'fetch'` the process asks PostHog
   *   first, and needs `fetch: flagCache.fetch` to fall back to the copy. Processes that only read use the copy at once.
   *
   * One process per host writes each version, in the background; processes with `role: 'reader'` do so too. The file has mode 0600. A
   * damaged or foreign file counts as none. The copy is never put back into Redis, and is not used while Redis answers. Has no
   * effect on `file:` and `memory:`.
   *
   * - `true`: in the private directory that is the default of `url`.
   * - the absolute path of a directory: created (mode 0700) if it does not exist. For containers, a volume that outlives them.
   * - `false`: no copy.
   *
   * @default false
   */
  localCopy?: boolean | string | undefined

  /**
   * The server's ACL user. Overrides the one in `url`. Has no effect on `file:` and `memory:`.
   *
   * @default the user in `url`, else the server's default user
   */
  username?: string | undefined

  /**
   * The password to log in with. Overrides the one in `url`, and need not be percent-encoded. Never part of a message. Has no
   * effect on `file:` and `memory:`.
   *
   * @default the password in `url`, else none
   */
  password?: string | undefined

  /**
   * Returns how to log in, for passwords and tokens that change. Called before every login of a connection, so it should return what
   * it has as long as that is valid. Not together with `password`. Has no effect on `file:` and `memory:`, and not on the logins to
   * sentinels. Caches of one thread with the same function share a connection.
   *
   * A login fails with `ERR_FLAG_CACHE_AUTH` if the function throws, returns something else, or takes longer than
   * `connectTimeoutMs`.
   *
   * @default none
   */
  credentials?: (() => FlagCacheCredentials | Promise<FlagCacheCredentials>) | undefined

  /**
   * The sentinels' ACL user. Only with `redis-sentinel://` and its like; ignored with `file:` and `memory:`.
   *
   * @default the sentinels' default user
   */
  sentinelUsername?: string | undefined

  /**
   * The password to log in to the sentinels with: they have their own. Never part of a message. Only with `redis-sentinel://` and
   * its like; ignored with `file:` and `memory:`.
   *
   * @default none
   */
  sentinelPassword?: string | undefined

  /**
   * How the connections are encrypted, those to sentinels too. Only with `rediss://` and its like; ignored with `file:` and
   * `memory:`.
   *
   * @default with `rediss://` and its like: the system's certificate authorities, and the host's name in the certificate
   */
  tls?: FlagCacheTlsOptions | undefined

  /**
   * The name of this process's connection for commands in `CLIENT LIST`. Without blanks. Has no effect on `file:` and `memory:`.
   *
   * @default none
   */
  clientName?: string | undefined
}

/**
 * What the option `credentials` returns.
 */
export interface FlagCacheCredentials {
  /**
   * The server's ACL user.
   *
   * @default the option `username`
   */
  username?: string | undefined

  /** The password or the token to log in with. Never part of a message. */
  password: string

  /**
   * When they expire, in milliseconds since 1970. When half of the time until then is over, and not within a second, the cache opens
   * a connection with new credentials, and then closes the old one: no call waits for it.
   *
   * @default they do not expire
   */
  expiresAt?: number | undefined

  /**
   * Certificates for this login; each field that is set overrides that of the option `tls`. Only with `rediss://` and its like.
   *
   * @default the option `tls`
   */
  tls?: FlagCacheTlsOptions | undefined
}

/**
 * The option `tls`. What cannot be used, a text without a certificate for example, makes the constructor throw
 * `ERR_FLAG_CACHE_OPTIONS`. Certificates and keys are texts in PEM, as `readFileSync(file, 'utf8')` returns them.
 */
export interface FlagCacheTlsOptions {
  /**
   * The certificate authorities to trust, one after another, instead of those of the system.
   *
   * @default the system's: OpenSSL's directories, `SSL_CERT_FILE`, `SSL_CERT_DIR`; the keychain on macOS and Windows
   */
  ca?: string | undefined

  /**
   * The certificate to show to the server, then those between it and its authority. Only with `key`.
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
   * The name or address that the server's certificate must be for. Of every server: for clusters and sentinels that announce
   * addresses which their certificates do not have.
   *
   * @default the server's name or address
   */
  serverName?: string | undefined

  /**
   * Take any certificate, of anybody: whoever is in the way can read and change everything. Not for production.
   *
   * @default false
   */
  insecureSkipVerify?: boolean | undefined
}

/**
 * Shares one copy of PostHog's feature flag definitions, and one fetch per interval, between all processes of a fleet.
 *
 * Give it to posthog-node as its `flagDefinitionCacheProvider`; posthog-node then calls the methods itself. Each PostHog client
 * needs a cache object of its own: `client.shutdown()` shuts it down.
 *
 * An error of this package never breaks flag evaluation: posthog-node reports it on `client.on('error')` and goes on with the
 * definitions it has, or fetches for itself. All errors are {@link FlagCacheError}s.
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
   * Checks the options. Connects to nothing: that is left to the first call of a method.
   *
   * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS` if an option is missing, unknown, ill-typed or out of range
   */
  constructor(options: FlagDefinitionCacheOptions)

  /**
   * Reads the fleet's definitions.
   *
   * posthog-node calls it at each refresh after `shouldFetchFlagDefinitions()` said no, and at every refresh of a client
   * without a key. If it resolves to `undefined` or rejects, posthog-node keeps the definitions it has; if it has none, and a
   * key, it fetches for itself.
   *
   * Definitions that the store has lost, or that were damaged there, are put back by any process that holds them. In a process
   * that only reads, and finds none while another one is fetching them, this method waits for them, `coldStartWaitMs` at most.
   *
   * Only what changed is parsed: while the definitions stay the same, so does the object; after an edit it and its arrays are
   * new, but a flag or a cohort that did not change is the same object as before.
   *
   * @returns the definitions, or `undefined` if the store has none. Do not modify them
   * @throws `ERR_FLAG_CACHE_UNAVAILABLE`, `ERR_FLAG_CACHE_TIMEOUT`, `ERR_FLAG_CACHE_AUTH`: the store cannot be read
   * @throws `ERR_FLAG_CACHE_CORRUPT`: the definitions in the store are damaged, and this process holds none
   * @throws `ERR_FLAG_CACHE_CLOSED` after `shutdown()`
   */
  getFlagDefinitions(): Promise<FlagDefinitions | undefined>

  /**
   * Decides whether this process fetches now.
   *
   * posthog-node calls it at the start of each refresh of a client with a key, and fetches if it resolves to `true`. A
   * rejection is reported on `client.on('error')` and counts as `true`.
   *
   * One process in the fleet is told `true` in each `refreshIntervalMs`, or as soon as the store has no definitions, or
   * after a fetch has failed. A process waits here while another one fetches, `coldStartWaitMs` at most, if it has no definitions,
   * or if the fetch before has failed. With `role: 'reader'` the answer is always `false`.
   *
   * @returns `true` if this process should fetch, `false` if it should use what `getFlagDefinitions()` returns
   * @throws `ERR_FLAG_CACHE_UNAVAILABLE`, `ERR_FLAG_CACHE_TIMEOUT`, `ERR_FLAG_CACHE_AUTH`, `ERR_FLAG_CACHE_READONLY`: the
   * store cannot be read and written, and this process holds no definitions to go on with (see `whenUnavailable`);
   * `ERR_FLAG_CACHE_UNAVAILABLE` also while the store does not take the newest definitions
   * @throws `ERR_FLAG_CACHE_CLOSED` after `shutdown()`
   */
  shouldFetchFlagDefinitions(): Promise<boolean>

  /**
   * Publishes definitions to the fleet.
   *
   * posthog-node calls it after a fetch that returned new definitions, which it then already uses itself; not after one that
   * found them unchanged. A rejection is only reported on `client.on('error')`.
   *
   * Definitions that come too late, because another process has taken over in the meantime, are not stored. Those that cannot
   * be stored now are kept, and published at the next refresh.
   *
   * @param data - the definitions from PostHog, stored as they are; where only posthog-node's name of a field is there, with the API's
   * name too
   * @throws `ERR_FLAG_CACHE_DATA` if `data` is not an object with an array `flags` of objects with a string `key`
   * @throws `ERR_FLAG_CACHE_TOO_LARGE` if the definitions exceed the limits (SECURITY.md)
   * @throws `ERR_FLAG_CACHE_UNAVAILABLE`, `ERR_FLAG_CACHE_TIMEOUT`, `ERR_FLAG_CACHE_AUTH`, `ERR_FLAG_CACHE_READONLY`: the
   * store cannot be written, or this process has `role: 'reader'` (the last one)
   * @throws `ERR_FLAG_CACHE_CLOSED` after `shutdown()`
   */
  onFlagDefinitionsReceived(data: FlagDefinitions): Promise<void>

  /**
   * Releases the lease, if this process has it, and closes the cache, with the last one of a process and project its
   * connection too. The definitions stay in the store, and the lease of another process stays its own.
   *
   * `client.shutdown()` calls it. It never rejects, waits no longer than the timeouts allow, and may be called again. Every
   * later call of another method rejects with `ERR_FLAG_CACHE_CLOSED`. A process that never calls it exits all the same; the
   * others then wait for its lease to end.
   */
  shutdown(): Promise<void>

  /**
   * The same as `shutdown()`, for `await using`.
   */
  [Symbol.asyncDispose](): Promise<void>

  /**
   * The global `fetch`, sharing one ETag in the fleet. Pass it to posthog-node as its option `fetch`.
   *
   * Without it a process that takes over fetching gets all definitions anew (10 requests on the bill instead of 1), and a fleet
   * can miss that the definitions went back to an earlier version. With it, a request for this project's definitions carries the
   * ETag of the definitions that the fleet shares:
   *
   * - PostHog finds them unchanged (304): posthog-node gets a 200 with the shared definitions, the same objects as before if this
   *   process has them.
   * - New definitions (200): published with their ETag, as PostHog sent them. The response's `json()` parses only what changed,
   *   and returns what `getFlagDefinitions()` would.
   * - Anything else (an error status, a network error, an answer that is not definitions): another process fetches next, and the
   *   listeners of `onError()` are told. After 429, 402 or `Retry-After` no process calls for as long as PostHog asked (an interval at
   *   least, an hour at most), if there are definitions to go on with. A process without definitions may get a 503 from here.
   * - 402: see {@link FlagDefinitionCacheOptions.whenRefused}.
   *
   * Every other request passes through untouched. A failure of the store never fails a request: it goes out all the same.
   *
   * Bound: it can be passed around on its own.
   */
  readonly fetch: Fetch

  /**
   * The options of `PostHog` that belong to this cache: itself as `flagDefinitionCacheProvider`, {@link FlagDefinitionCache.fetch}, and
   * {@link FlagDefinitionCacheOptions.refreshIntervalMs} as `featureFlagsPollingInterval`.
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
   * Makes the same of another fetch, one with a proxy or with tracing for example.
   *
   * @param fetch - makes the requests; the global `fetch`, or anything that posthog-node takes instead
   * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS` if it is not a function
   *
   * @example
   * ```typescript
   * new PostHog('phc_…', { ...flagCache.clientOptions, fetch: flagCache.withFetch(tracedFetch) })
   * ```
   */
  withFetch(fetch: Fetch): Fetch

  /**
   * Has the client look for new definitions if it has not looked for `maxAgeMs`, and waits until it has them; otherwise returns at
   * once. Call it at the begin of each request of a serverless function, where no timer runs between requests. Concurrent calls share
   * one reload. If the reload fails, posthog-node reports it, and the client keeps the definitions that it has.
   *
   * @param posthog - the client of this cache
   * @param maxAgeMs - in milliseconds
   * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS` if the arguments are something else
   */
  ensureFresh(posthog: { reloadFeatureFlags(): Promise<void> }, maxAgeMs: number): Promise<void>

  /**
   * Calls the listener when the fleet has definitions that this process has not: within milliseconds after another process has
   * published them, instead of at the next poll.
   *
   * Never called from inside a call of another method, nor for definitions that posthog-node has loaded meanwhile. Several
   * updates in quick succession may come as one. After a lost connection it is called if something was missed. What a listener
   * throws or rejects is told to `onError()` listeners. Does not keep the process alive.
   *
   * @param listener - called with the new version, an opaque string
   * @returns a function that ends the subscription
   *
   * @example
   * ```typescript
   * flagCache.onUpdate(() => posthog.reloadFeatureFlags()) // reads the cache: no request to PostHog
   * ```
   */
  onUpdate(listener: (version: string) => unknown): () => void

  /**
   * Calls the listener for failures that no caller hears of: lost connections, definitions found damaged, outcomes of a request
   * that could not be shared, refusals by PostHog, a `refreshIntervalMs` that does not match the pace of the polls, errors of
   * other listeners. Without a listener they are silent. An error with the same `code` comes once a minute at most.
   *
   * What the methods reject with comes through posthog-node instead: `client.on('error')`. Does not keep the process alive.
   *
   * @returns a function that ends the subscription
   */
  onError(listener: (error: FlagCacheError | Error) => unknown): () => void

  /**
   * Says that the definitions have changed: PostHog's webhook came, or a deploy hook ran. The next refresh of this process then
   * fetches at once, whatever `refreshIntervalMs` says. Calls within a second count as one, in the whole fleet.
   *
   * A pause that PostHog asked for is still respected.
   *
   * @throws `ERR_FLAG_CACHE_UNAVAILABLE`, `ERR_FLAG_CACHE_TIMEOUT`, `ERR_FLAG_CACHE_AUTH`, `ERR_FLAG_CACHE_READONLY`: the
   * store cannot be written, or this process has `role: 'reader'` (the last one)
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
   * Makes a Fetch API handler for a webhook that PostHog calls when a flag is edited: every process has the edit at once, for one
   * request to PostHog. For Next.js route handlers, Hono, Bun and Deno.
   *
   * It answers `204` once this process has fetched, and `503` if the edit could not be noted in the store, so that PostHog tries
   * again. It does not read the body. Requests that come while it fetches cause one more fetch together.
   *
   * @param options - `secret`: what the header `Authorization` must hold after `Bearer `, or the answer is `401`; `posthog`: the client
   * of this cache
   * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS` if one of them is missing
   *
   * @example
   * ```typescript
   * export const POST = flagCache.webhookHandler({ secret: process.env.WEBHOOK_SECRET!, posthog })
   * ```
   */
  webhookHandler(options: { secret: string; posthog: { reloadFeatureFlags(): Promise<void> } }): (request: Request) => Promise<Response>

  /**
   * What this process knows, as of its last contact with the store. Asks nobody and never fails, so it is safe in a health check.
   */
  status(): FlagCacheStatus
}

/**
 * See {@link FlagDefinitionCache.status}. Durations are in milliseconds.
 */
export interface FlagCacheStatus {
  /** The option `projectKey`. */
  projectKey: string
  /** This process, or this cache object of several in a process: `host:pid:random`. */
  worker: string
  /** The option `role`. */
  role: 'auto' | 'reader'
  /** Whether this one holds the lease, and so fetches. */
  isLeader: boolean
  /** The `worker` that holds the lease; `null` when nobody does, or when it is not known. */
  leader: string | null
  /** The number of the newest grant in the fleet. Grows by one with each. */
  fence: number
  /** The definitions that this process holds; `null` before it has any. */
  definitions: {
    /** SHA-256 of their text, in hexadecimal. */
    version: string
    /** PostHog's ETag for them; `null` if they were published without `flagCache.fetch`. */
    etag: string | null
    /** How many flags. */
    flags: number
    /** Length of their JSON text. */
    bytes: number
    /** Length in the store, compressed or not; 0 for a local copy. */
    storedBytes: number
    /** How long ago PostHog last said that they are current; of a local copy, how long ago it was last confirmed. */
    ageMs: number | null
    /** Whether they come from the option `localCopy`, because this process could reach neither the store nor PostHog. */
    isLocalCopy: boolean
  } | null
  /** How long ago somebody was last told to fetch; `null` if that is not known. */
  lastGrantMsAgo: number | null
  /** For how long no process calls PostHog, because it asked for a pause, or several processes failed; `null`: no pause. */
  retryInMs: number | null
  /** Fetches of this process that failed in a row; 0 after one that succeeded. */
  failedFetches: number
  /** The same for the whole fleet. */
  fleetFailedFetches: number
  /** What to set `refreshIntervalMs` to, where posthog-node steadily polls at another pace; `null`: they match. */
  suggestedRefreshIntervalMs: number | null
  /** How long the store took to answer last, when no definitions were written. */
  roundTripMs: number | null
  /** The store. */
  backend: {
    /** `'redis'` for Valkey too. */
    kind: 'redis' | 'directory' | 'memory'
    /** Without user and password. */
    location: string
    /** Software and version, `redis 7.4.1`; `null` before the first connection, and where there is no server. */
    server: string | null
    /** `'RESP2'` where the server lacks RESP3; `null` before the first connection, and where there is no server. */
    protocol: 'RESP2' | 'RESP3' | null
    /**
     * How update notifications arrive from a server: `'push'`, on the same connection; `'second-connection'`, because the server lacks
     * RESP3; or `'none'`, because the server refuses to send them, or the second connection is lost. With `'none'`, edits arrive at
     * the next poll. `null` before the server has answered, and where there is no server.
     */
    notices: 'push' | 'second-connection' | 'none' | null
  }
  /** What happened since this object was made. */
  counters: {
    /** Refreshes that were told to fetch. */
    grants: number
    /** Refreshes that were told to use the cache. */
    follows: number
    /** Polls and reads of the store that found the definitions unchanged. */
    unchanged: number
    /** Reads of the store that brought new definitions. */
    loads: number
    /** New definitions published. */
    publishes: number
    /** Fetches that found the definitions unchanged (seen through `flagCache.fetch` only). */
    confirms: number
    /** Fetched definitions that came too late, after another process had taken over. */
    superseded: number
    /** Times that this process put back what the store had lost. */
    heals: number
    /** Looks at the store while waiting for another process's fetch. */
    waits: number
    /** Failures by code. */
    errors: Partial<Record<FlagCacheErrorCode, number>>
    /**
     * Flag requests that PostHog bills for what this process requested: 10 for an answer with definitions, 1 for one that says that they
     * are unchanged. How they are counted: docs/operations.md.
     */
    requestsBilled: number
    /** Flag requests that PostHog would have billed in addition if this process had no cache. Never decreases. */
    requestsSaved: number
  }
}

/**
 * What kind of failure a {@link FlagCacheError} is. Stable: messages may change, codes do not.
 *
 * - `ERR_FLAG_CACHE_OPTIONS`: an option of the constructor is missing, unknown, ill-typed or out of range.
 * - `ERR_FLAG_CACHE_DATA`: `onFlagDefinitionsReceived()` got something else than an object with an array `flags`.
 * - `ERR_FLAG_CACHE_TOO_LARGE`: the definitions exceed the limits of what a process may load (SECURITY.md). They are not shared: each
 *   process fetches for itself.
 * - `ERR_FLAG_CACHE_UNAVAILABLE`: the store cannot be reached, or refuses to work.
 * - `ERR_FLAG_CACHE_TIMEOUT`: the store did not answer in time.
 * - `ERR_FLAG_CACHE_AUTH`: the store refuses the user, the password, or the rights of that user.
 * - `ERR_FLAG_CACHE_CORRUPT`: the store holds something under our names that is damaged, or not from this package.
 * - `ERR_FLAG_CACHE_READONLY`: the store is a replica that takes no writes, or `role: 'reader'` allows none.
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
 * Every error of this package. Its message never holds a password.
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

  /** What kind of failure. */
  readonly code: FlagCacheErrorCode

  /** What caused it, where something else did. */
  readonly cause?: unknown
}
