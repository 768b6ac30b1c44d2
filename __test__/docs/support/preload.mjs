// Before a snippet runs: PostHog is the stand-in of the test, whatever host the snippet names.

const { STAND_IN } = process.env
const { fetch } = globalThis

globalThis.fetch = (url, options) => {
  const { pathname, search, hostname } = new URL(url)
  if (!hostname.endsWith('.posthog.com')) throw new Error(`the snippet calls ${hostname}`)
  return fetch(`${STAND_IN}${pathname}${search}`, options)
}
