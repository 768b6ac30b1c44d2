// zstd frames made by hand (RFC 8878, 3.1.1): Node 20 has no zstd, and a bomb needs none.

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd]
const BLOCK = 128 * 1024
const RAW = 0
const RLE = 1
const COMPRESSED = 2

/** A frame of `head`, `padding` blanks (a few bytes for each 128 KiB of them), and `tail`. */
export function zstdFrame(head, padding = 0, tail = '') {
  // No checksum, no content size, a window of 128 KiB.
  const parts = [Buffer.from([...MAGIC, 0x00, 0x38]), block(RAW, Buffer.byteLength(head)), Buffer.from(head)]
  for (let left = padding; left > 0; left -= BLOCK) parts.push(block(RLE, Math.min(left, BLOCK)), Buffer.from(' '))
  parts.push(block(RAW, Buffer.byteLength(tail), true), Buffer.from(tail))
  return Buffer.concat(parts)
}

/** A frame of `head`, `pattern` so often that it makes at least `bytes` (12 bytes for about 128 KiB), and `tail`: `{ stored, repeats }`. */
export function zstdPattern(head, pattern, bytes, tail) {
  const start = Buffer.from(head + pattern)
  const length = BLOCK - (BLOCK % pattern.length)
  const offset = pattern.length + 3
  const offsetCode = Math.floor(Math.log2(offset))
  // No literals; one sequence of RLE-coded symbols: no literals, the offset, and match length code 52, from 65,539 on, with 16 bits.
  const match = Buffer.from([0x00, 1, 0x54, 0, offsetCode, 52, 0, 0, 0, 0])
  match.writeUIntLE(2 ** (offsetCode + 16) + (offset - 2 ** offsetCode) * 2 ** 16 + (length - 65_539), 6, 4)
  const body = match.subarray(0, 6 + Math.ceil((offsetCode + 17) / 8))
  const parts = [Buffer.from([...MAGIC, 0x00, 0x38]), block(RAW, start.length), start]
  const blocks = Math.ceil(bytes / length)
  for (let count = 0; count < blocks; count += 1) parts.push(block(COMPRESSED, body.length), body)
  parts.push(block(RAW, Buffer.byteLength(tail), true), Buffer.from(tail))
  return { stored: Buffer.concat(parts), repeats: 1 + (blocks * length) / pattern.length }
}

function block(type, size, isLast = false) {
  const header = Buffer.alloc(3)
  header.writeUIntLE((size << 3) | (type << 1) | Number(isLast), 0, 3)
  return header
}
