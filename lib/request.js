'use strict'

/** Where posthog-node asks for the definitions: the current path, and that of older versions. */
const PATHS = /\/(flags\/definitions|feature_flag\/local_evaluation)\/?$/

/** Whether a GET of this URL asks for the definitions of some project. */
const asksForSomeDefinitions = ({ pathname }) => PATHS.test(pathname)

/** Whether it asks for those of this project. */
const asksForDefinitions = (url, projectKey) => asksForSomeDefinitions(url) && url.searchParams.get('token') === projectKey

module.exports = { asksForDefinitions, asksForSomeDefinitions }
