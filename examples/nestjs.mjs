// NestJS: the client is a provider, and Nest's shutdown hooks shut it down. With decorators, write @Injectable() and @Module().
// npm install @nestjs/common @nestjs/core reflect-metadata rxjs posthog-node posthog-flag-cache

import 'reflect-metadata'

import { Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FlagDefinitionCache } from 'posthog-flag-cache'
import { PostHog } from 'posthog-node'

const { POSTHOG_PROJECT_KEY, POSTHOG_SECRET_KEY, POSTHOG_HOST, REDIS_URL } = process.env

class Flags {
  flagCache = new FlagDefinitionCache({ projectKey: POSTHOG_PROJECT_KEY, url: REDIS_URL })
  posthog = new PostHog(POSTHOG_PROJECT_KEY, {
    host: POSTHOG_HOST,
    secretKey: POSTHOG_SECRET_KEY,
    ...this.flagCache.clientOptions,
  })

  async onApplicationBootstrap() {
    this.flagCache.onUpdate(() => this.posthog.reloadFeatureFlags())
    await this.posthog.waitForLocalEvaluationReady(10_000)
  }

  async onApplicationShutdown() {
    await this.posthog.shutdown()
  }
}

class AppModule {}
Module({ providers: [Flags], exports: [Flags] })(AppModule)

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error', 'warn'] })
// Without it Nest calls no shutdown hook when a signal comes.
app.enableShutdownHooks()
console.log(JSON.stringify(await app.get(Flags).posthog.getAllFlags('ada', { onlyEvaluateLocally: true })))
