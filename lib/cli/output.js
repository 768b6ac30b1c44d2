'use strict'

const { fstatSync, writeSync } = require('node:fs')
const { createInterface } = require('node:readline')
const { getSystemErrorMap } = require('node:util')

const { Failure } = require('./args.js')

const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 }
const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'

/** Control characters, format characters (including bidirectional ones) and Unicode line breaks: a terminal acts on them. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** Visible, and with the same meaning in a JSON string: `\u001b`. */
const escaped = (text) =>
  text.replace(UNSAFE, (found) => found.replace(/./gs, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`))

/** Text in a style, made by `paint`. */
class Painted {
  constructor(style, text) {
    this.style = style
    this.text = text
  }
}

/**
 * Standard output for data, standard error for messages. Commands have no other access to the two streams, and whatever they write
 * is escaped here: names, errors and definitions come from Redis, files and servers. A `part` is a string or what `paint` returns.
 */
class Output {
  #stdout
  #stderr
  #isFile
  #isTerminal
  #hasColour

  constructor({ stdout = process.stdout, stderr = process.stderr, env = process.env } = {}) {
    this.#stdout = stdout
    this.#stderr = stderr
    this.#isTerminal = Boolean(stdout.isTTY)
    this.#isFile = !this.#isTerminal && isFileOrDevice(stdout.fd)
    /** Whether lines can be redrawn. */
    this.isLive = this.#isTerminal && env.TERM !== 'dumb'
    this.#hasColour = this.isLive && !env.NO_COLOR
    /** Whether a question would be seen, and could be answered. */
    this.canAsk = Boolean(process.stdin.isTTY && stderr.isTTY)
    // It is no failure if the reader stops early (`| head`).
    stdout.on('error', (error) => (error.code === 'EPIPE' ? process.exit(0) : this.#end(error)))
    stderr.on('error', () => {})
  }

  paint(style, text) {
    return new Painted(style, text)
  }

  line(...parts) {
    this.#write(`${this.#shown(parts)}\n`)
  }

  /** Text of several lines. */
  lines(text) {
    for (const line of text.split('\n')) this.line(line)
  }

  json(value) {
    this.lines(JSON.stringify(value, null, 2))
  }

  /** A line on standard error. */
  message(...parts) {
    this.#stderr.write(`${this.#shown(parts)}\n`)
  }

  /** A buffer of text, byte for byte; on a terminal it is escaped. */
  copy(text) {
    if (this.#isTerminal) this.lines(text.toString())
    else this.#write(text)
  }

  /** Labels in bold, and their values. */
  table(rows) {
    for (const parts of this.tableLines(rows)) this.line(...parts)
  }

  /** The lines of a table, each a list of parts. */
  tableLines(rows) {
    const shown = rows.filter(([, text]) => text !== undefined)
    const width = Math.max(...shown.map(([label]) => label.length)) + 2
    return shown.map(([label, text]) => [this.paint('bold', label.padEnd(width)), text])
  }

  /** Redraws the lines of the previous call, cut to the terminal's width. Each line is a list of parts. Returns `{ draw, rows }`. */
  screen() {
    const stdout = this.#stdout
    let drawn = 0
    stdout.write(HIDE_CURSOR)
    process.once('exit', () => stdout.write(SHOW_CURSOR))
    return {
      /** The number of lines that fit. Lines that have scrolled off the screen cannot be redrawn. */
      rows: () => (stdout.rows || Infinity) - 1,
      draw: (lines) => {
        const text = lines.map((parts) => `${this.#shown(parts, stdout.columns)}\x1b[K\n`).join('')
        stdout.write(`${drawn > 0 ? `\x1b[${drawn}A` : ''}\r${text}\x1b[J`)
        drawn = lines.length
      },
    }
  }

  /** The answer of the user at the terminal; '' if there is none. */
  async ask(question) {
    const terminal = createInterface({ input: process.stdin, output: this.#stderr })
    const answer = await new Promise((resolve) => {
      terminal.question(escaped(question), resolve)
      terminal.once('close', () => resolve(''))
    })
    terminal.close()
    return answer
  }

  /** Resolves when all output has been written, which may take time on a pipe. */
  async flush() {
    // A full device rejects an empty write too.
    const streams = this.#isFile ? [this.#stderr] : [this.#stdout, this.#stderr]
    for (const stream of streams) await new Promise((resolve) => stream.write('', resolve))
  }

  #write(data) {
    if (!this.#isFile) return this.#stdout.write(data)
    try {
      writeAll(this.#stdout.fd, Buffer.from(data))
    } catch (error) {
      throw notWritten(error)
    }
  }

  /** Ends the process, because what follows cannot be written either. */
  #end(error) {
    const { code, message } = notWritten(error)
    this.message(this.paint('red', 'error'), ` [${code}]: ${message}`)
    this.#stderr.write('', () => process.exit(1))
  }

  /** The parts as they are written. A line longer than `width` is cut, because a wrapped line would be redrawn in the wrong place. */
  #shown(parts, width) {
    let room = width > 1 ? width : Infinity
    let line = ''
    for (const part of parts) {
      const { style, text } = part instanceof Painted ? part : { text: part }
      const safe = clip(escaped(text), room)
      room -= safe.length
      line += style && this.#hasColour ? `\x1b[${STYLES[style]}m${safe}\x1b[0m` : safe
    }
    return line
  }
}

/** A regular file or a device such as /dev/full, but not a pipe or a socket. */
function isFileOrDevice(fd) {
  try {
    const stats = fstatSync(fd)
    return stats.isFile() || stats.isCharacterDevice()
  } catch {
    return false
  }
}

/** Node.js's own stream for files ignores that a disk took only a part, so a full disk would go unnoticed. */
function writeAll(fd, data) {
  for (let at = 0; at < data.length; ) at += writeSync(fd, data, at)
}

function notWritten({ code, errno, message }) {
  const [, why = message] = getSystemErrorMap().get(errno) ?? []
  return new Failure(code, `cannot write the output: ${why}`)
}

const clip = (text, width) => (text.length > width ? `${text.slice(0, Math.max(0, width - 1))}${width > 0 ? '…' : ''}` : text)

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
]

/** `23 h 59 min`, `4 s`, `120 ms`, `0.42 ms`: at most the two largest units. */
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

const counted = (count, noun, plural = 's') => `${count} ${noun}${count === 1 ? '' : plural}`

module.exports = { Output, duration, ago, bytes, counted }
