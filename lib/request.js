'use strict'

/** The paths at which posthog-node requests the definitions: the current one, and that of older versions. */
const PATHS = /\/(flags\/definitions|feature_flag\/local_evaluation)\/?$/

/** Whether this is the path of the definitions, for any project. */
const isDefinitionsPath = (pathname) => PATHS.test(pathname)

/** Whether a GET of this URL asks for the definitions of the project. */
function asksForDefinitions({ pathname, searchParams }, projectKey) {
  return isDefinitionsPath(pathname) && searchParams.get('token') === projectKey
}

module.exports = { asksForDefinitions, isDefinitionsPath }
