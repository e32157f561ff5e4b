import { describe } from 'vitest'
import { skipsPodman, smallImage, startPodman } from '../harness/podman.ts'
import { engineContract } from './engine.ts'

describe.skipIf(skipsPodman())('podman', () => {
  engineContract(async () => {
    const podman = await startPodman()
    podman.service.supervise(() => undefined)
    const image = await smallImage(podman.engine)
    return {
      engine: podman.engine,
      image: image.tag,
      directory: podman.directory,
      crash: async () => podman.kill(),
      recover: async () => await podman.engine.ping(),
      [Symbol.asyncDispose]: async () => {
        await image[Symbol.asyncDispose]()
        await podman[Symbol.asyncDispose]()
      },
    }
  })
})
