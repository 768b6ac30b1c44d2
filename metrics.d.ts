import type { FlagDefinitionCache } from './index.js'
import type { Relay } from './relay.js'

/**
 * The `Content-Type` of the text that {@link prometheus} returns.
 */
export declare const contentType: string

/**
 * Returns the metrics of these caches and relays as OpenMetrics text, for an endpoint that Prometheus scrapes. It reads `status()` and
 * makes no request.
 *
 * Each series has two labels. `project` is the project key. `cache` is the position of the cache among the arguments with the same project
 * key, from `0`. So pass the caches in the same order each time.
 *
 * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS` if an argument is not a cache or a relay
 *
 * @example
 * ```typescript
 * response.writeHead(200, { 'content-type': contentType }).end(prometheus(flagCache))
 * ```
 */
export declare function prometheus(...caches: (FlagDefinitionCache | Relay)[]): string

/**
 * Registers the metrics of a cache or a relay with a meter of `@opentelemetry/api`, as observable instruments. Each collection reads
 * `status()`.
 *
 * The attributes are the labels of {@link prometheus}. Here, `cache` is the lowest number that no other cache of the project has in this
 * thread.
 *
 * @returns a function that ends the registration
 * @throws {@link FlagCacheError} `ERR_FLAG_CACHE_OPTIONS` if an argument is missing
 *
 * @example
 * ```typescript
 * instrument(flagCache, metrics.getMeter('posthog-flag-cache'))
 * ```
 */
export declare function instrument(cache: FlagDefinitionCache | Relay, meter: Meter): () => void

/**
 * The part of OpenTelemetry's `Meter` that {@link instrument} uses.
 */
export interface Meter {
  createObservableGauge(name: string, options: { unit: string; description: string }): object
  createObservableCounter(name: string, options: { unit: string; description: string }): object
  addBatchObservableCallback(callback: (result: BatchResult) => void, instruments: object[]): void
  removeBatchObservableCallback(callback: (result: BatchResult) => void, instruments: object[]): void
}

interface BatchResult {
  observe(instrument: object, value: number, attributes?: Record<string, string>): void
}
