// zstd frames made by hand (RFC 8878, 3.1.1): Node 20 has no zstd, and a bomb needs none.

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd]
const BLOCK = 128 * 1024
const RAW = 0
const RLE = 1

/** A frame of `head`, `padding` blanks (a few bytes for each 128 KiB of them), and `tail`. */
export function zstdFrame(head, padding = 0, tail = '') {
  // No checksum, no content size, a window of 128 KiB.
  const parts = [Buffer.from([...MAGIC, 0x00, 0x38]), block(RAW, Buffer.byteLength(head)), Buffer.from(head)]
  for (let left = padding; left > 0; left -= BLOCK) parts.push(block(RLE, Math.min(left, BLOCK)), Buffer.from(' '))
  parts.push(block(RAW, Buffer.byteLength(tail), true), Buffer.from(tail))
  return Buffer.concat(parts)
}

function block(type, size, isLast = false) {
  const header = Buffer.alloc(3)
  header.writeUIntLE((size << 3) | (type << 1) | Number(isLast), 0, 3)
  return header
}
