// Chance that can be repeated: the same seed, the same choices.

/** `between(least, most)` gives a number from `least` up to, but not, `most`; `pick(list)` one of a list; `chance(p)` true or false. */
export function randomFrom(seed) {
  let state = seed >>> 0
  // mulberry32
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
  const between = (least, most) => least + next() * (most - least)
  return { between, pick: (list) => list[Math.floor(between(0, list.length))], chance: (p) => next() < p }
}
