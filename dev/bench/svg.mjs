// What the figures have in common: SVG written by hand, with its own background, so that it reads on any page.

export const FONT = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
export const INK = '#1d2329'
export const SOFT = '#66707a'
export const RULE = '#e2dfd8'
export const OUR_COLOUR = '#d6361f'

const PAPER = '#fdfcf9'

export function svg({ width, height, title, content }) {
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" font-family="${FONT}">`,
    `<title>${escaped(title)}</title>`,
    `<rect x=".5" y=".5" width="${width - 1}" height="${height - 1}" rx="6" fill="${PAPER}" stroke="${RULE}"/>`,
    ...content,
    '</svg>',
  ].join('\n')}\n`
}

/** `halo`: keeps lines that it crosses off the letters. */
export function text(at, baseline, content, { size, weight = 400, fill = INK, anchor = 'start', halo = false }) {
  const place = `x="${round(at)}" y="${round(baseline)}" font-size="${size}" fill="${fill}"`
  const style = `${weight === 400 ? '' : ` font-weight="${weight}"`}${anchor === 'start' ? '' : ` text-anchor="${anchor}"`}`
  const edge = halo ? ` stroke="${PAPER}" stroke-width="4" paint-order="stroke"` : ''
  return `<text ${place}${style}${edge}>${escaped(String(content))}</text>`
}

/** 1, 2 or 5 times a power of ten, for four to nine rules. */
export function niceStep(most) {
  const power = 10 ** Math.floor(Math.log10(most / 4))
  return [5, 2, 1].map((factor) => factor * power).find((step) => most / step >= 4)
}

export const round = (number) => Math.round(number * 10) / 10
const escaped = (content) => content.replace(/[&<>]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[character])
