'use strict'

const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 }

/** What goes to whom: data to standard output, everything else to standard error. */
class Output {
  constructor({ stdout = process.stdout, stderr = process.stderr, env = process.env } = {}) {
    this.stdout = stdout
    this.stderr = stderr
    this.isLive = Boolean(stdout.isTTY) && env.TERM !== 'dumb'
    this.hasColour = this.isLive && !env.NO_COLOR
    // A reader that has seen enough (`| head`) is no failure.
    stdout.on('error', (error) => process.exit(error.code === 'EPIPE' ? 0 : 1))
    stderr.on('error', () => {})
  }

  paint(style, text) {
    return this.hasColour && style ? `\x1b[${STYLES[style]}m${text}\x1b[0m` : text
  }

  line(text = '') {
    this.stdout.write(`${text}\n`)
  }

  json(value) {
    this.line(JSON.stringify(value, null, 2))
  }

  /** Labels in bold, and what belongs to them. */
  table(rows) {
    for (const row of this.tableLines(rows)) this.line(row)
  }

  tableLines(rows) {
    const shown = rows.filter(([, text]) => text !== undefined)
    const width = Math.max(...shown.map(([label]) => label.length)) + 2
    return shown.map(([label, text]) => `${this.paint('bold', label.padEnd(width))}${text}`)
  }

  message(text) {
    this.stderr.write(`${text}\n`)
  }

  /** Resolves when everything has been handed over: a pipe may take its time. */
  async flush() {
    for (const stream of [this.stdout, this.stderr]) await new Promise((resolve) => stream.write('', resolve))
  }
}

module.exports = { Output }
