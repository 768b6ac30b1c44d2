// Many clients whose Redis goes and returns: they must not fall upon it together.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { fullest, measureReconnects, quantile } from '../../dev/bench/reconnects.mjs'

test('200 clients that lost their Redis try a few times a second at most, and come back one after another', async (t) => {
  const [clients, outageMs] = [200, 4_000]
  const { attempts, returns } = await measureReconnects({ clients, outageMs })
  const inSecond = (n) => attempts.filter((at) => Math.floor(at / 1_000) === n).length / clients
  // At once, and after 100 to 200, 200 to 400, 400 to 800 ms; then ever more seldom.
  assert.ok(inSecond(0) <= 5, `${inSecond(0)} attempts per client in the first second`)
  assert.ok(inSecond(3) <= 1.5, `${inSecond(3)} in the fourth`)

  const [spreadMs, most] = [quantile(returns, 0.95) - quantile(returns, 0.05), fullest(returns, 100)]
  t.diagnostic(`they return over ${Math.round(spreadMs)} ms, at most ${most} in 100 ms`)
  assert.equal(returns.length, clients, 'one attempt each')
  assert.ok(spreadMs >= 500, `nine tenths of them within ${spreadMs} ms`)
  assert.ok(most <= clients / 5, `${most} of them within 100 ms`)
})
