// Files that hang, as on a dead mount: here FIFOs, for whose writer whoever opens one to read it waits.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'

import { runNode } from '../support/child.mjs'
import { closedPort, newProjectKey, redisFor, temporaryDirectory } from '../support/stores.mjs'

const unix = { skip: process.platform === 'win32' && 'there are no FIFOs' }

test('a FIFO in the place of the state blocks neither its own cache nor another one of the process', unix, async (t) => {
  const [directory, projectKey, redis] = [temporaryDirectory(t), newProjectKey(), await redisFor(t)]
  const project = join(directory, 'posthog%3Aflags', projectKey)
  mkdirSync(project, { recursive: true })
  const state = join(project, 'state.json')
  execFileSync('mkfifo', [state])
  const source = `
    const { FlagDefinitionCache } = require('posthog-flag-cache')
    const options = { projectKey: ${JSON.stringify(projectKey)}, commandTimeoutMs: 500, refreshIntervalMs: 100 }
    const open = (url) => new FlagDefinitionCache({ ...options, url })
    const sick = open(${JSON.stringify(pathToFileURL(directory).href)})
    const healthy = open(${JSON.stringify(redis.url)})
    const poll = async (cache) => {
      if (await cache.shouldFetchFlagDefinitions()) await cache.onFlagDefinitionsReceived({ flags: [{ key: 'here' }] })
      return (await cache.getFlagDefinitions()).flags[0].key
    }
    const main = async () => {
      sick.onUpdate(() => {})
      const polls = []
      for (let i = 0; i < 10; i++) polls.push(poll(sick).catch((error) => error.code))
      await Promise.all(polls)
      console.log(await poll(healthy), await poll(sick))
      process.exit()
    }
    main()
  `
  const { code, stdout, stderr } = await runNode(source, { timeoutMs: 20_000 })
  assert.equal(code, 0, stderr)
  assert.equal(stdout, 'here here\n')
  assert.ok(existsSync(state))
  assert.equal(typeof JSON.parse(readFileSync(state, 'utf8')).revision, 'number', 'it was replaced')
})

test('certificates that cannot be read block only their own cache', unix, async (t) => {
  const [redis, directory] = [await redisFor(t), temporaryDirectory(t)]
  const certificates = join(directory, 'certificates.pem')
  execFileSync('mkfifo', [certificates])
  const options = { projectKey: newProjectKey(), connectTimeoutMs: 50, commandTimeoutMs: 50 }
  const source = `
    const { FlagDefinitionCache } = require('posthog-flag-cache')
    const options = ${JSON.stringify(options)}
    const main = async () => {
      for (let i = 0; i < 10; i++) {
        const sick = new FlagDefinitionCache({ ...options, commandTimeoutMs: 50 + i, url: 'rediss://127.0.0.1:${await closedPort()}' })
        await sick.shouldFetchFlagDefinitions().catch(() => {})
      }
      const healthy = new FlagDefinitionCache({ ...options, connectTimeoutMs: 2000, commandTimeoutMs: 2000, url: ${JSON.stringify(redis.url)} })
      await healthy.shouldFetchFlagDefinitions()
      await healthy.onFlagDefinitionsReceived({ flags: [{ key: 'here' }] })
      console.log((await healthy.getFlagDefinitions()).flags[0].key)
      process.exit()
    }
    main()
  `
  const { code, stdout, stderr } = await runNode(source, { env: { SSL_CERT_FILE: certificates }, timeoutMs: 20_000 })
  assert.equal(code, 0, stderr)
  assert.equal(stdout, 'here\n')
})
