// `npm run storm`: 200 clients whose Redis is gone for 30 seconds, and how they come back.

import { parseArgs } from 'node:util'

import { fullest, measureReconnects, quantile } from './reconnects.mjs'

const { values } = parseArgs({ options: { clients: { type: 'string', default: '200' }, seconds: { type: 'string', default: '30' } } })
const [clients, seconds] = [Number(values.clients), Number(values.seconds)]

const { attempts, returns } = await measureReconnects({ clients, outageMs: seconds * 1_000 })
const ms = (moment) => `${Math.round(moment)} ms`
console.log(`${clients} clients, Redis gone for ${seconds} s; attempts to connect per client, second by second:`)
const perSecond = Array.from({ length: seconds }, (_, n) => attempts.filter((at) => Math.floor(at / 1_000) === n).length / clients)
console.log(`  ${perSecond.map((count) => count.toFixed(1)).join(' ')}`)
console.log('after its return:')
const [first, half, most, last] = [returns[0], quantile(returns, 0.5), quantile(returns, 0.95), returns.at(-1)].map(ms)
console.log(`  the first client is back after ${first}, half of them after ${half}, 95 % after ${most}, the last after ${last}`)
console.log(`  at most ${fullest(returns, 100)} attempts in 100 ms, ${returns.length} in all`)
