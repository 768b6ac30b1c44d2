// What a snippet that imports nothing takes for granted.

import type * as flagCacheModule from 'posthog-flag-cache'
import type * as posthogModule from 'posthog-node'

declare global {
  const FlagDefinitionCache: typeof flagCacheModule.FlagDefinitionCache
  const FlagCacheError: typeof flagCacheModule.FlagCacheError
  const PostHog: typeof posthogModule.PostHog
  const flagCache: flagCacheModule.FlagDefinitionCache
  const posthog: posthogModule.PostHog
  const readFileSync: typeof import('node:fs').readFileSync

  /** Your own. */
  const tracedFetch: flagCacheModule.Fetch
  const metrics: { increment(name: string): void; gauge(name: string, value: number | null, labels?: Record<string, string>): void }
  const logger: { warn(...values: unknown[]): void }
  /** Those of Jest and Vitest. */
  function test(name: string, work: () => unknown): void
  function beforeAll(work: () => unknown): void
  function afterEach(work: () => unknown): void
  function afterAll(work: () => unknown): void
  function expect(value: unknown): { toBe(other: unknown): void }

  function currentToken(): Promise<string>
}
