/** Next.js calls it once, when a server starts. */
export async function register() {
  // Edge runtimes have no native addons: the import must not even be bundled for them.
  if (process.env.NEXT_RUNTIME === 'nodejs') {
    const { serverPostHog } = await import('./lib/posthog')
    const { posthog } = serverPostHog()
    // Releases the lease, so that another server fetches at once.
    process.once('SIGTERM', () => posthog.shutdown())
  }
}
