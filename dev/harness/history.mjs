// What a process evaluated. Evaluations overlap, and count in the order in which they began: one that began before the first
// definitions, and ends after others, lost nothing.

/**
 * Adds an evaluation to `history`, a list of the changes of the version: `{ version, at }`, `at` being when the evaluation began.
 * Returns whether that changed the list. A null before the first version is no change.
 */
export function record(history, { version, at }) {
  const index = history.findLastIndex((earlier) => earlier.at <= at) + 1
  if (version === (history[index - 1]?.version ?? null)) return false
  history.splice(index, history[index]?.version === version ? 1 : 0, { version, at })
  return true
}
