// What one call costs the process that makes it. The process runs with --expose-gc.

import { openSync, readSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { GCProfiler } from 'node:v8'

/** Longer than anything that a call leaves to be done after it has returned. */
const SETTLE_MS = 5
const BEAT_MS = 1

const SCHEDSTAT = `/proc/self/task/${process.pid}/schedstat`

/**
 * CPU time of the main thread, in milliseconds. Linux brings it up to date when the thread sleeps, so both readings of an
 * interval come right after a sleep; then it is exact, and what other processes do is not in it.
 */
export const mainThreadCpu = findMainThreadCpu()

function findMainThreadCpu() {
  if (process.threadCpuUsage) {
    return () => {
      const { user, system } = process.threadCpuUsage()
      return (user + system) / 1_000
    }
  }
  // Node before 23.9: the first number is the nanoseconds that the thread has run (kernel.org, scheduler/sched-stats).
  if (process.platform === 'linux') {
    const file = openSync(SCHEDSTAT)
    const text = Buffer.alloc(64)
    return () => Number(text.latin1Slice(0, readSync(file, text, 0, text.length, 0)).split(' ', 1)[0]) / 1e6
  }
  // Elsewhere: how long the event loop was not idle, which counts the times when the thread had to wait for a core.
  return () => performance.eventLoopUtilization().active
}

/**
 * `{ value, cost: { cpuMs, processCpuMs, wallMs } }` of `work()`: CPU of the main thread, of all threads, and the time. Where
 * nothing is to `collect`, the process is as a long-lived one is between its calls.
 */
export async function cost(work, { collect = true } = {}) {
  await settle(collect)
  // What measuring itself costs is taken off: the mean of a stretch before and one behind. The first of all is slow.
  const nothing = async () => {}
  await stretch(nothing)
  const before = await stretch(nothing)
  const { value, cost: all } = await stretch(work)
  const after = await stretch(nothing)
  const own = (name) => (before.cost[name] + after.cost[name]) / 2
  return { value, cost: Object.fromEntries(Object.entries(all).map(([name, sum]) => [name, sum - own(name)])) }
}

async function stretch(work) {
  const [cpu, processCpu, at] = [mainThreadCpu(), process.cpuUsage(), performance.now()]
  const value = await work()
  const wallMs = performance.now() - at
  await sleep(SETTLE_MS)
  const cpuMs = mainThreadCpu() - cpu
  const { user, system } = process.cpuUsage(processCpu)
  return { value, cost: { cpuMs, processCpuMs: (user + system) / 1_000, wallMs } }
}

/**
 * `{ value, cost: { allocatedBytes } }`: what comes into being in V8's heap, buffers included. Exact where the collector does
 * not run meanwhile, see `GC_HELD_OFF`; else what it took away is added, but some buffers it gives back later, unseen.
 */
export async function allocation(work) {
  await settle()
  const profiler = new GCProfiler()
  profiler.start()
  const before = heapSize()
  const value = await work()
  const grown = heapSize() - before
  const size = ({ heapStatistics: { usedHeapSize, externalMemory } }) => usedHeapSize + externalMemory
  const freed = profiler.stop().statistics.reduce((sum, { beforeGC, afterGC }) => sum + size(beforeGC) - size(afterGC), 0)
  return { value, cost: { allocatedBytes: grown + freed } }
}

/** Options of a process in which even the largest call does not fill the young generation. */
export const GC_HELD_OFF = ['--min-semi-space-size=512', '--max-semi-space-size=512']

/** Those of one that has served for a while: its young generation has grown to V8's default limit. */
export const GC_AS_USUAL = ['--min-semi-space-size=16', '--max-semi-space-size=16']

function heapSize() {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

async function settle(collect = true) {
  if (collect) {
    globalThis.gc()
    // The first one gives the memory of buffers back in the background; the second waits for that.
    globalThis.gc()
  }
  await sleep(SETTLE_MS)
}

/**
 * `{ value, cost: { blockMs, gcMs } }`: how long, at most, the main thread was busy between two turns of a timer that is due
 * every millisecond, which is how long everything else had to wait, and the longest pause for V8's collector. The timer costs
 * CPU, so this is a measurement of its own.
 */
export async function longestBlock(work) {
  await settle()
  const pauses = [0]
  const collector = new PerformanceObserver((list) => pauses.push(...list.getEntries().map(({ duration }) => duration)))
  collector.observe({ entryTypes: ['gc'] })
  let blockMs = 0
  let last = performance.eventLoopUtilization()
  const beat = () => {
    const now = performance.eventLoopUtilization()
    blockMs = Math.max(blockMs, now.active - last.active)
    last = now
  }
  const timer = setInterval(beat, BEAT_MS)
  const value = await work()
  await sleep(SETTLE_MS)
  clearInterval(timer)
  collector.disconnect()
  return { value, cost: { blockMs, gcMs: Math.max(...pauses) } }
}

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2
}
