// Processes that live through all of a soak: what they need must not grow.

/** Growth that is noise: of the allocator, of the collector, of sockets that are closing. */
const MEMORY_SHARE = 0.1
const MEMORY_BYTES = 12 * 2 ** 20
const RESOURCES = 3

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`

export class Residents {
  #workers
  #samples = new Map()

  constructor(workers) {
    this.#workers = workers
    for (const worker of workers) this.#samples.set(worker, [])
  }

  includes(worker) {
    return this.#samples.has(worker)
  }

  async measure() {
    for (const worker of this.#workers) {
      const { memory, resources } = await worker.status()
      this.#samples.get(worker).push({ rss: memory.rss, resources })
    }
  }

  /** Compares the first third of what was measured with the last, and says what came out. */
  assertFlat() {
    const lines = []
    for (const [worker, samples] of this.#samples) {
      const third = Math.max(1, Math.floor(samples.length / 3))
      const [early, late] = [samples.slice(0, third), samples.slice(-third)]
      const [rss, resources] = ['rss', 'resources'].map((name) => [early, late].map((part) => median(part.map((sample) => sample[name]))))
      lines.push(`${worker.id}: RSS ${rss.map(mebibytes).join(' to ')}, handles ${resources.join(' to ')}`)
      if (rss[1] > rss[0] * (1 + MEMORY_SHARE) + MEMORY_BYTES) throw new Error(`memory grows: ${lines.at(-1)}`)
      if (resources[1] > resources[0] + RESOURCES) throw new Error(`handles grow: ${lines.at(-1)}`)
    }
    return lines.join('; ')
  }
}
