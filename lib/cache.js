'use strict'

const { NativeProvider } = require('./native.js')
const { Bill } = require('./bill.js')
const { Client } = require('./client.js')
const { toNativeCredentials } = require('./credentials.js')
const { urlOfEnvironment } = require('./environment.js')
const { FlagCacheError, translate } = require('./error.js')
const { shareEtag } = require('./fetch.js')
const { Listeners } = require('./listeners.js')
const { assemble, toNative } = require('./transfer.js')
const { UnobservedRequest } = require('./unobserved.js')
const { webhookHandler } = require('./webhook.js')

const REPORT_INTERVAL_MS = 60_000

const NO_DEFINITIONS = { flags: [], group_type_mapping: {}, groupTypeMapping: {}, cohorts: {} }

/** A copy of the options, for native code to validate. */
function collect(options) {
  if (options === null || typeof options !== 'object') {
    throw new FlagCacheError(
      'ERR_FLAG_CACHE_OPTIONS',
      "options are missing. Create the cache with new FlagDefinitionCache({ projectKey: 'phc_…' }).",
    )
  }
  try {
    const { url, ...others } = options
    // An empty environment variable counts as not set, also if the program passes it on.
    const given = { url: url === undefined || url === '' ? urlOfEnvironment() : url, ...others }
    // As posthog-node does.
    if (typeof given.projectKey === 'string') given.projectKey = given.projectKey.trim()
    // Read here, so that an error from a getter is kept.
    if (isPlain(given.tls)) given.tls = { ...given.tls }
    return given
  } catch (cause) {
    throw new FlagCacheError(
      'ERR_FLAG_CACHE_OPTIONS',
      'cannot read the options: a getter threw an error (see cause). Pass a plain object.',
      cause,
    )
  }
}

const isPlain = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)

function create(options) {
  const given = collect(options)
  if (given.projectKey === undefined && options.projectKey !== undefined) {
    throw new FlagCacheError(
      'ERR_FLAG_CACHE_OPTIONS',
      "option 'projectKey' is inherited. Pass a plain object, whose own properties are the options.",
    )
  }
  try {
    const { projectKey, role, whenRefused, credentials } = given
    const native = new NativeProvider(given, ...toNativeCredentials(credentials))
    return { native, projectKey, isReader: role === 'reader', keepsRefused: whenRefused !== 'clear' }
  } catch (cause) {
    throw translate(cause)
  }
}

/** The parts of a cache that only the relay needs; see `#internals()`. */
let internalsOf

class FlagDefinitionCache {
  static {
    internalsOf = (cache) => cache.#internals()
  }

  #native
  #client = new Client()
  /** What `lib/fetch.js` and `lib/unobserved.js` need. */
  #context
  #bill
  #unobserved
  /** The number of running calls, and the version that was announced during them. */
  #calls = 0
  #announced
  #updates = new Listeners(
    () => this.#observe(),
    (error) => this.#report(error),
  )
  #errors = new Listeners(
    () => this.#observe(),
    () => {},
  )
  #observing = false
  /** The error for the first listener of `onError()`. */
  #warning
  /** The number of running polls. One PostHog client never starts a second one. */
  #polls = 0
  /** Whether the last poll was told to use the cache. */
  #isFollowing = false
  #isShared = false
  /** When the client last looked for definitions. */
  #lookedAt
  /** For `ensureFresh()`: the running reload, and whether there was one before. */
  #reload
  #hasReloaded = false
  #reported = new Map()

  constructor(options) {
    const { native, projectKey, isReader, keepsRefused } = create(options)
    this.#native = native
    this.#bill = new Bill(native.refreshIntervalMs, () => this.#isFailing())
    this.#warning = native.warning
    this.#context = {
      native,
      client: this.#client,
      bill: this.#bill,
      projectKey,
      keepsRefused,
      attempt: (work) => this.#attempt(work),
      share: async (work) => isReader || this.#attempt(work),
      report: (error) => this.#report(error),
      during: (work) => this.#during(work),
    }
    this.#unobserved = new UnobservedRequest(this.#context)
    this.fetch = this.withFetch((...request) => globalThis.fetch(...request))
  }

  async getFlagDefinitions() {
    this.#lookedAt = Date.now()
    try {
      return await this.#call(() => this.#get())
    } finally {
      if (this.#client.isEmergency) this.#unobserved.watchEmergency()
    }
  }

  async #get() {
    // Another call may replace it meanwhile.
    let { held } = this.#client
    this.#client.isEmergency = true
    const found = this.#client.takePolled() ?? (await this.#native.get(held.version))
    this.#client.isCacheEmpty = found === null
    if (found === null) return undefined
    this.#client.isEmergency = false
    this.#client.isUnshared = false
    if (found === false) {
      this.#client.version = undefined
      return { ...NO_DEFINITIONS }
    }
    if (found !== true) {
      held = await assemble(found, held)
      this.#client.held = held
    }
    this.#client.version = held.version
    if (this.#isFollowing) this.#bill.settles(held.version)
    return held.definitions
  }

  async shouldFetchFlagDefinitions() {
    this.#client.isEmergency = false
    this.#client.isCacheEmpty = false
    if (this.#polls > 0) this.#reportSharing()
    this.#polls += 1
    this.#lookedAt = Date.now()
    this.#bill.polls(this.#client.version)
    // posthog-node also fetches after a rejection.
    let fetches = true
    this.#isFollowing = false
    try {
      await this.#unobserved.settle()
      const { held } = this.#client
      const found = await this.#call(() => this.#native.poll(held.version))
      fetches = found === null || this.#endsBackOff()
      this.#isFollowing = !fetches
      this.#client.polled = fetches ? undefined : { found, held, at: performance.now() }
      return fetches
    } finally {
      if (fetches) this.#unobserved.watch()
      this.#polls -= 1
    }
  }

  async onFlagDefinitionsReceived(data) {
    this.#unobserved.received()
    await this.#call(async () => {
      await this.#publish(data)
      this.#client.version = this.#client.held.version
    })
  }

  // `async`, as all methods are: posthog-node waits for what is `instanceof Promise`, and in a vm
  // context (Jest) a native promise is not.
  async shutdown() {
    this.#client.isClosed = true
    this.#unobserved.end()
    await this.#attempt(() => this.#during(() => this.#native.shutdown()))
    this.#client.polled = undefined
  }

  async [Symbol.asyncDispose]() {
    await this.shutdown()
  }

  withFetch(fetch) {
    if (typeof fetch !== 'function') {
      throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'withFetch() takes a function like the global fetch')
    }
    return shareEtag(this.#context, fetch)
  }

  get clientOptions() {
    return { flagDefinitionCacheProvider: this, fetch: this.fetch, featureFlagsPollingInterval: this.#native.refreshIntervalMs }
  }

  async ensureFresh(posthog, maxAgeMs) {
    if (typeof posthog?.reloadFeatureFlags !== 'function' || !(maxAgeMs >= 0)) {
      throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'ensureFresh() takes a PostHog client, and a number of milliseconds')
    }
    // Wall-clock time continues while a serverless instance is frozen. If the clock was set back, everything counts as old.
    const ageMs = Date.now() - this.#lookedAt
    // The first call waits for the load that the client started itself.
    if (!this.#reload && this.#hasReloaded && ageMs >= 0 && ageMs < maxAgeMs) return
    this.#reload ??= posthog.reloadFeatureFlags().finally(() => {
      this.#reload = undefined
      this.#hasReloaded = true
    })
    await this.#reload
  }

  async invalidate() {
    await this.#call(() => this.#native.invalidate())
  }

  webhookHandler(options) {
    return webhookHandler(this, options, { report: (error) => this.#report(error), told: () => this.#unobserved.told })
  }

  onUpdate(listener) {
    return this.#updates.add(listener)
  }

  onError(listener) {
    const remove = this.#errors.add(listener)
    if (this.#warning) this.#report(new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', this.#warning))
    this.#warning = null
    return remove
  }

  status() {
    const { counters, ...others } = JSON.parse(this.#native.status())
    const { billed: requestsBilled, saved: requestsSaved } = this.#bill
    return { projectKey: this.#context.projectKey, ...others, counters: { ...counters, requestsBilled, requestsSaved } }
  }

  /** Whether PostHog, as far as this process knows, answers no process. */
  #isFailing() {
    const { failedFetches, fleetFailedFetches } = this.status()
    return failedFetches > 0 || fleetFailedFetches > 0
  }

  /** Whether the client is told to make a request that `flagCache.fetch` answers itself. Otherwise it would keep polling less often. */
  #endsBackOff() {
    const client = this.#client
    if (!client.isBackedOff || client.origin === undefined) return false
    const { definitions, fleetFailedFetches } = this.status()
    // While the other processes have no definitions, neither does this client.
    client.isAnsweredHere = definitions !== null && (this.#context.keepsRefused || fleetFailedFetches === 0)
    return client.isAnsweredHere
  }

  async #publish(data) {
    let publish
    let text
    try {
      const flags = data?.flags
      publish = this.#client.answers.get(flags)
      // It keeps the text in memory, and is not needed again.
      this.#client.answers.delete(flags)
      if (!publish) text = String(JSON.stringify(data))
    } catch (cause) {
      throw new FlagCacheError(
        'ERR_FLAG_CACHE_DATA',
        'the flag definitions cannot be converted to JSON. Pass the object that PostHog sent.',
        cause,
      )
    }
    if (publish) return publish()
    const version = await this.#native.received(await toNative(text))
    this.#client.held = { version, definitions: data }
  }

  #internals() {
    return {
      report: (error) => this.#report(error),
      /** The definitions that were made or received last: `{ version, definitions }`. */
      held: () => this.#client.held,
      /** Whether it received none, because PostHog refuses them to the project. */
      isCleared: () => this.#client.version === undefined,
      /** Their JSON text in UTF-8; PostHog's own, where the store has it. */
      text: async ({ version, definitions }) => {
        const fetched = await this.#attempt(() => this.#native.newest(version, version))
        return fetched?.text() ?? Buffer.from(JSON.stringify(definitions))
      },
    }
  }

  async #call(work) {
    this.#observe()
    try {
      return await this.#during(work)
    } catch (cause) {
      throw cause instanceof FlagCacheError ? cause : translate(cause)
    }
  }

  async #during(work) {
    this.#calls += 1
    try {
      return await work()
    } finally {
      this.#calls -= 1
      // Not at once: posthog-node has not yet taken the result of this call.
      if (this.#announced !== undefined) setImmediate(() => this.#announce()).unref()
    }
  }

  /** For work that no caller waits for: a failure is only reported. */
  async #attempt(work) {
    try {
      return await work()
    } catch (cause) {
      const error = translate(cause)
      // After a shutdown there are no listeners.
      if (error.code !== 'ERR_FLAG_CACHE_CLOSED') this.#report(error)
    }
  }

  /** Watches in the background while there are listeners. */
  #observe() {
    const wanted = this.#updates.size + this.#errors.size > 0
    if (wanted === this.#observing) return
    if (wanted) {
      try {
        this.#native.observe((event) => this.#hear(event))
      } catch (cause) {
        // Not at once: the listener that needs it is still being added. The next call tries again.
        return setImmediate(() => this.#report(translate(cause))).unref()
      }
    } else this.#native.unobserve()
    this.#observing = wanted
  }

  #hear({ version, code, message }) {
    if (code) return this.#report(new FlagCacheError(code, message))
    this.#announced = version
    this.#announce()
  }

  /** Calls the listeners for an announced version, but never during a call, which may already be loading it. */
  #announce() {
    if (this.#calls > 0) return
    const version = this.#announced
    this.#announced = undefined
    if (version !== undefined && version !== this.#client.version) this.#updates.call(version)
  }

  /** Reports that several clients share this cache. Each is served, but none is notified of an update that another has taken. */
  #reportSharing() {
    if (this.#isShared || this.#errors.size === 0) return
    this.#isShared = true
    this.#report(
      new FlagCacheError(
        'ERR_FLAG_CACHE_OPTIONS',
        'several PostHog clients use this FlagDefinitionCache at the same time. Create one FlagDefinitionCache for each PostHog client.',
      ),
    )
  }

  /** Reports the same error at most once a minute, because it may occur at every poll or reconnect. */
  #report(error) {
    if (this.#errors.size === 0) return
    const now = performance.now()
    // Errors with one code may differ. Their beginning is compared, because the rest contains addresses and numbers.
    const kind = `${error?.code} ${String(error?.message).slice(0, 32)}`
    if (now - this.#reported.get(kind) < REPORT_INTERVAL_MS) return
    this.#reported.set(kind, now)
    this.#errors.call(error)
  }
}

module.exports = { FlagDefinitionCache, FlagCacheError, internalsOf }
