import type { NextConfig } from 'next'

const config: NextConfig = {
  // A native addon is loaded, not bundled.
  serverExternalPackages: ['posthog-flag-cache'],
  // For a container: .next/standalone carries the addon too.
  output: 'standalone',
}

export default config
