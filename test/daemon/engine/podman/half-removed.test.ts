import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Engine } from '../../../../daemon/engine/engine.ts'
import { createPodmanEngine } from '../../../../daemon/engine/podman/podman-engine.ts'
import { answer, type FakeApi, startFakeApi } from '../../../harness/podman-api.ts'

const NAME = 'loopat-ws-1'
const NOT_KNOWN = { cause: 'container not known', message: 'getting container from store "c1": container not known' }

describe('a container that podman was removing when it was killed', () => {
  let state: string
  let isThere: boolean
  let api: FakeApi
  let engine: Engine

  beforeEach(async () => {
    state = 'removing'
    isThere = true
    api = await startFakeApi(({ method, url = '' }, response) => {
      if (method === 'DELETE') {
        isThere = false
        response.writeHead(204).end()
      } else if (url.startsWith('/v4.0.0/libpod/containers/json')) {
        answer(response, 200, isThere ? [{ Id: 'c1', Names: [NAME], Labels: { a: 'b' }, State: state }] : [])
      } else if (isThere) {
        answer(response, 500, NOT_KNOWN)
      } else {
        answer(response, 404, { cause: 'no such container', message: 'no such container' })
      }
    })
    engine = createPodmanEngine({ socketPath: () => api.socketPath })
  })
  afterEach(() => api[Symbol.asyncDispose]())

  it('should be listed all the same', async () => {
    expect(await engine.container.list({ a: 'b' })).toEqual([
      { id: 'c1', name: NAME, labels: { a: 'b' }, status: 'other' },
    ])
  })

  it('should be removed to the end when somebody looks at it, and be gone', async () => {
    expect(await engine.container.inspect(NAME)).toBeUndefined()
    expect(api.requests).toContain(`DELETE /containers/${NAME}`)
    await expect(engine.container.start(NAME)).rejects.toMatchObject({ kind: 'not_found' })
  })

  it('should not be taken for one that fails for another reason', async () => {
    state = 'exited'
    await expect(engine.container.inspect(NAME)).rejects.toMatchObject({ kind: 'failed' })
    expect(isThere).toBe(true)
  })
})
