'use strict'

/** What a status of PostHog's API means, and what to do. */
const MEANINGS = {
  401: 'it rejected the secret key. Check that the key is valid, and that it belongs to this project',
  402: 'the quota of flag requests is used up. Check the billing limits of the project',
  403: 'the secret key lacks the permission to read flag definitions. Use a key that has it',
  404: "it has no API for flag definitions at this URL. Check PostHog's URL",
  429: 'it received too many requests',
  508: "the request has come back to a relay. Check PostHog's URL",
}

/** An answer without definitions, in words, without a full stop at the end. */
function inWords(status) {
  const meaning = MEANINGS[status] ?? (status >= 500 ? 'a server error' : "an unexpected status. Check PostHog's URL")
  return `PostHog answered ${status}: ${meaning}`
}

module.exports = { inWords }
