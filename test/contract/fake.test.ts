import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from 'vitest'
import { FakeEngine } from '../fake/engine.ts'
import { engineContract } from './engine.ts'

describe('the fake engine', () => {
  engineContract(async () => {
    const image = 'localhost/loopat-test-small:1'
    const engine = new FakeEngine({ images: [image], runCommands: true })
    const directory = await mkdtemp(join(tmpdir(), 'loopat-contract-'))
    return {
      engine,
      image,
      directory,
      crash: async () => engine.disconnect(),
      recover: async () => engine.reconnect(),
      [Symbol.asyncDispose]: async () => {
        await engine[Symbol.asyncDispose]()
        await rm(directory, { recursive: true, force: true })
      },
    }
  })
})
