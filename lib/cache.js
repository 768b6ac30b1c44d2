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
    throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'options are required: an object with a projectKey')
  }
  try {
    const { url, ...others } = options
    // An empty variable of the environment is none, also where it is passed on.
    const given = { url: url === undefined || url === '' ? urlOfEnvironment() : url, ...others }
    // Read here, so that what a getter throws is kept.
    if (isPlain(given.tls)) given.tls = { ...given.tls }
    return given
  } catch (cause) {
    throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'the options cannot be read', cause)
  }
}

const isPlain = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)

function create(options) {
  const given = collect(options)
  try {
    const { projectKey, role, whenRefused, credentials } = given
    const native = new NativeProvider(given, ...toNativeCredentials(credentials))
    return { native, projectKey, isReader: role === 'reader', keepsRefused: whenRefused !== 'clear' }
  } catch (cause) {
    throw translate(cause)
  }
}

/** What only the relay needs of a cache; see `#internals()`. */
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
  /** How many of our calls are under way, and the version that was announced meanwhile. */
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
  /** What the first listener of `onError()` is told. */
  #warning
  /** How many polls are under way: one PostHog client never begins a second one. */
  #polls = 0
  /** Whether the last one was told to use the cache. */
  #isFollowing = false
  #isShared = false
  /** When the client last looked for definitions. */
  #lookedAt
  /** For `ensureFresh()`: the reload that is under way, and whether there was one. */
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
    // Another call may put something else there meanwhile.
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
    // After a rejection posthog-node fetches, too.
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
    await this.#call(() => this.#native.shutdown())
    this.#client.polled = undefined
  }

  async [Symbol.asyncDispose]() {
    await this.shutdown()
  }

  withFetch(fetch) {
    if (typeof fetch !== 'function') {
      throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'withFetch needs a function like the global fetch')
    }
    return shareEtag(this.#context, fetch)
  }

  get clientOptions() {
    return { flagDefinitionCacheProvider: this, fetch: this.fetch, featureFlagsPollingInterval: this.#native.refreshIntervalMs }
  }

  async ensureFresh(posthog, maxAgeMs) {
    if (typeof posthog?.reloadFeatureFlags !== 'function' || !(maxAgeMs >= 0)) {
      throw new FlagCacheError('ERR_FLAG_CACHE_OPTIONS', 'ensureFresh needs a PostHog client, and a number of milliseconds')
    }
    // The time of day goes on while a serverless instance is frozen. A clock that was set back makes everything old.
    const ageMs = Date.now() - this.#lookedAt
    // The first one waits for the load that the client began by itself.
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
    return webhookHandler(this, options, (error) => this.#report(error))
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

  /** Whether PostHog, as far as this process knows, answers neither it nor the others. */
  #isFailing() {
    const { failedFetches, fleetFailedFetches } = this.status()
    return failedFetches > 0 || fleetFailedFetches > 0
  }

  /** Whether the client makes a request although it need not, which `flagCache.fetch` answers: it would go on polling less often. */
  #endsBackOff() {
    const client = this.#client
    if (!client.isBackedOff || client.origin === undefined) return false
    const { definitions, fleetFailedFetches } = this.status()
    // While the fleet goes on without definitions, so does this client.
    client.isAnsweredHere = definitions !== null && (this.#context.keepsRefused || fleetFailedFetches === 0)
    return client.isAnsweredHere
  }

  async #publish(data) {
    let publish
    let text
    try {
      const flags = data?.flags
      publish = this.#client.answers.get(flags)
      // It holds the text, and is not needed again.
      this.#client.answers.delete(flags)
      if (!publish) text = String(JSON.stringify(data))
    } catch (cause) {
      throw new FlagCacheError('ERR_FLAG_CACHE_DATA', 'the flag definitions cannot be written as JSON', cause)
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
      /** Whether it was given none instead: PostHog refuses them to the project. */
      isCleared: () => this.#client.version === undefined,
      /** Their JSON text in UTF-8; PostHog's own, where the store has it. */
      text: async ({ version, definitions }) => {
        const fetched = await this.#attempt(() => this.#native.newest(version, version))
        return fetched?.text() ?? Buffer.from(JSON.stringify(definitions))
      },
    }
  }

  async #call(work) {
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
      // Not at once: posthog-node has yet to take what this call returned.
      if (this.#announced !== undefined) setImmediate(() => this.#announce()).unref()
    }
  }

  /** Where nobody waits for the outcome: a failure is only reported. */
  async #attempt(work) {
    try {
      return await work()
    } catch (cause) {
      const error = translate(cause)
      // After a shutdown there is nobody to tell.
      if (error.code !== 'ERR_FLAG_CACHE_CLOSED') this.#report(error)
    }
  }

  /** Watches in the background for as long as somebody listens. */
  #observe() {
    const wanted = this.#updates.size + this.#errors.size > 0
    if (wanted === this.#observing) return
    this.#observing = wanted
    if (!wanted) return this.#native.unobserve()
    this.#native.observe(({ version, code, message }) => {
      if (code) return this.#report(new FlagCacheError(code, message))
      this.#announced = version
      this.#announce()
    })
  }

  /** Tells of an announced version, but never during a call, which may be loading it already. */
  #announce() {
    if (this.#calls > 0) return
    const version = this.#announced
    this.#announced = undefined
    if (version !== undefined && version !== this.#client.version) this.#updates.call(version)
  }

  /** Each client is served, but none of them is told of an update that another has taken. */
  #reportSharing() {
    if (this.#isShared || this.#errors.size === 0) return
    this.#isShared = true
    this.#report(
      new FlagCacheError(
        'ERR_FLAG_CACHE_OPTIONS',
        'several PostHog clients use this FlagDefinitionCache at the same time: create one FlagDefinitionCache for each PostHog client',
      ),
    )
  }

  /** The same trouble once a minute: some of it comes with every poll, or with every reconnect. */
  #report(error) {
    if (this.#errors.size === 0) return
    const now = performance.now()
    // Errors of one code may say different things; what follows names places and numbers.
    const kind = `${error?.code} ${String(error?.message).slice(0, 32)}`
    if (now - this.#reported.get(kind) < REPORT_INTERVAL_MS) return
    this.#reported.set(kind, now)
    this.#errors.call(error)
  }
}

module.exports = { FlagDefinitionCache, FlagCacheError, internalsOf }
