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
      // Waits, as calls do, for a service that comes back; a ping would not.
      recover: async () => void (await podman.engine.container.list({ none: 'such' })),
      [Symbol.asyncDispose]: async () => {
        await image[Symbol.asyncDispose]()
        await podman[Symbol.asyncDispose]()
      },
    }
  })
})
