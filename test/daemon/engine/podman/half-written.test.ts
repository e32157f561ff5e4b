import { describe, expect, it } from 'vitest'
import { PodmanApi } from '../../../../daemon/engine/podman/api.ts'
import { DockerClient } from '../../../../daemon/engine/podman/docker.ts'
import { ImageStore } from '../../../../daemon/engine/podman/image-store.ts'
import { answer, type FakeApi, startFakeApi } from '../../../harness/podman-api.ts'

const IDS = ['a', 'b'].map((letter) => letter.repeat(64))

/** A podman that was killed while it wrote images. @param finish makes one whole, as podman itself does */
async function startFake(ids: readonly string[]): Promise<{ fake: FakeApi; store: ImageStore; finish: () => void }> {
  const broken = [...ids]
  const fake = await startFakeApi((request, response) => {
    const removed = /images\/([0-9a-f]{64})/.exec(request.url ?? '')?.[1]
    if (request.method === 'DELETE')
      answer(response, 200, [{ Deleted: broken.splice(broken.indexOf(removed ?? ''), 1) }])
    else if (broken[0] === undefined) answer(response, 200, [])
    else {
      const message = `locating item named "manifest" for image with ID "${broken[0]}" (consider removing the image to resolve the issue): file does not exist`
      answer(response, 500, { cause: 'file does not exist', message, response: 500 })
    }
  })
  const store = new ImageStore(new PodmanApi(new DockerClient(() => fake.socketPath)))
  return { fake, store, finish: () => void broken.shift() }
}

describe('images that podman was writing when it was killed', () => {
  it('should be removed, so that images can be listed', async () => {
    const { fake, store } = await startFake(IDS)
    await using _ = fake
    expect(await store.list()).toEqual([])
    expect(fake.requests.filter((request) => request.startsWith('DELETE'))).toEqual(
      IDS.map((id) => `DELETE /images/${id}`),
    )
  })

  it('should not be removed for ever when podman only says that they are removed', async () => {
    const message = `locating item named "manifest" for image with ID "${IDS[0]}": file does not exist`
    await using fake = await startFakeApi(({ method }, response) =>
      method === 'DELETE'
        ? answer(response, 200, [])
        : answer(response, 500, { cause: 'file does not exist', message }),
    )
    const store = new ImageStore(new PodmanApi(new DockerClient(() => fake.socketPath)))
    await expect(store.list()).rejects.toMatchObject({ kind: 'failed' })
    expect(fake.requests.filter((request) => request.startsWith('DELETE'))).toHaveLength(1)
  })

  it('should stay while podman still writes them', async () => {
    const { fake, store, finish } = await startFake(IDS.slice(0, 1))
    await using _ = fake
    setTimeout(finish, 500)
    expect(await store.list()).toEqual([])
    expect(fake.requests).not.toContainEqual(expect.stringMatching(/^DELETE/))
  })
})
