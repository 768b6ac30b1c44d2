/** Next.js calls it once, when a server starts. */
export async function register() {
  // Edge runtimes have no native addons: the import must not even be bundled for them.
  if (process.env.NEXT_RUNTIME === 'nodejs') {
    const { connection } = await import('./lib/posthog')
    const { posthog } = connection()
    // Gives the turn to fetch to another server, at once.
    process.once('SIGTERM', () => posthog.shutdown())
  }
}
