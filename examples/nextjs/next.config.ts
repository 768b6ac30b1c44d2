import type { NextConfig } from 'next'

const config: NextConfig = {
  // A native addon is loaded, not bundled.
  serverExternalPackages: ['posthog-flag-cache'],
  // The defaults of create-next-app.
  cacheComponents: true,
  partialPrefetching: true,
  // For a container: .next/standalone carries the addon too.
  output: 'standalone',
}

export default config
