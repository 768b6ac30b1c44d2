'use strict'

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
]

/** `23 h 59 min`, `4 s`, `120 ms`, `0.42 ms`: the two largest units are enough for a reader. */
function duration(ms) {
  if (ms > 0 && ms < 9.995) return `${ms.toFixed(2)} ms`
  const rounded = Math.round(ms)
  if (rounded < 1_000) return `${rounded} ms`
  const at = UNITS.findIndex(([, length]) => rounded >= length)
  const [unit, length] = UNITS[at]
  const [smaller, smallerLength] = UNITS[at + 1] ?? []
  const rest = smaller ? Math.floor((rounded % length) / smallerLength) : 0
  return `${Math.floor(rounded / length)} ${unit}${rest ? ` ${rest} ${smaller}` : ''}`
}

const ago = (ms) => (ms === null ? 'never' : `${duration(ms)} ago`)

/** `812 bytes`, `64.0 KiB`, `5.0 MiB` */
function bytes(count) {
  if (count < 1024) return `${count} bytes`
  return count < 1024 ** 2 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 1024 ** 2).toFixed(1)} MiB`
}

const counted = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`

module.exports = { duration, ago, bytes, counted }
