import { afterEach, describe, expect, it, vi } from 'vitest'
import { PodmanApi } from '../../../../daemon/engine/podman/api.ts'
import { DockerClient } from '../../../../daemon/engine/podman/docker.ts'
import { answer, type FakeApi, startFakeApi } from '../../../harness/podman-api.ts'

const GET = { method: 'GET', path: '/thing', ok: [200], what: 'get the thing', repeatable: true } as const
const POST = { method: 'POST', path: '/thing', ok: [200], what: 'make the thing', repeatable: false } as const

afterEach(() => {
  vi.unstubAllEnvs()
})

describe('PodmanApi', () => {
  it('should speak to the socket whatever DOCKER_ variables say', async () => {
    await using api = await startFakeApi((_request, response) => answer(response, 200, { fine: true }))
    for (const host of ['tcp://127.0.0.1:1', 'nonsense', 'ssh://x']) {
      vi.stubEnv('DOCKER_HOST', host)
      vi.stubEnv('DOCKER_CERT_PATH', '/nowhere')
      expect(await connect(api).call(GET)).toEqual({ fine: true })
      expect(process.env.DOCKER_HOST).toBe(host)
    }
  })

  it('should pass path and query unchanged', async () => {
    const urls: (string | undefined)[] = []
    await using api = await startFakeApi((request, response) => {
      urls.push(request.url)
      answer(response, 200, {})
    })
    await connect(api).call(GET)
    await connect(api).call({ ...GET, query: { a: 'b&c', n: 0, none: undefined } })
    await connect(api).call({ ...POST, body: { x: 1 } })
    expect(urls).toEqual(['/thing?', '/thing?a=b%26c&n=0', '/thing?'])
  })

  it('should wait for a service that is being restarted', async () => {
    await using api = await startFakeApi((_request, response) => answer(response, 200, { fine: true }))
    await api.stop()
    const calls = [connect(api).call(GET), connect(api).call(POST)]
    setTimeout(() => void api.start(), 300)
    expect(await Promise.all(calls)).toEqual([{ fine: true }, { fine: true }])
  })

  it('should not wait longer than its patience, nor at all when it only asks', async () => {
    await using api = await startFakeApi(() => undefined)
    await api.stop()
    await expect(connect(api, 200).call(GET)).rejects.toMatchObject({ kind: 'unavailable' })
    await expect(connect(api).ask(GET)).rejects.toMatchObject({ kind: 'unavailable' })
  })

  it('should repeat what can be repeated when the connection breaks, and nothing else', async () => {
    let left = 0
    await using api = await startFakeApi((request, response) => {
      left -= 1
      if (left >= 0) request.socket.destroy()
      else answer(response, 200, { fine: true })
    })
    left = 2
    expect(await connect(api).call(GET)).toEqual({ fine: true })
    expect(api.requests).toHaveLength(3)
    left = 1
    await expect(connect(api).call(POST)).rejects.toMatchObject({ kind: 'connection_lost' })
    expect(api.requests).toHaveLength(4)
  })

  it('should end typed when an answer is cut off or is no JSON', async () => {
    await using api = await startFakeApi((request, response) => {
      if (request.url?.startsWith('/cut')) {
        response.writeHead(200, { 'Content-Length': '100' })
        response.write('{"half":')
        setTimeout(() => response.destroy(), 20)
      } else response.writeHead(500).end('<html>')
    })
    const cut = { ...GET, path: '/cut', repeatable: false } as const
    await expect(connect(api, 200).call(cut)).rejects.toMatchObject({ kind: 'connection_lost' })
    await expect(connect(api).call(GET)).rejects.toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('<html>'),
    })
  })

  it('should end by the reason of the signal at any time', async () => {
    await using api = await startFakeApi(() => undefined)
    const reason = new Error('enough')
    const abort = new AbortController()
    const waiting = connect(api).call(GET, abort.signal)
    await expect.poll(() => api.requests.length).toBe(1)
    abort.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    await expect(connect(api).stream(GET, abort.signal)).rejects.toBe(reason)
    await api.stop()
    const later = new AbortController()
    const retrying = connect(api).call(GET, later.signal)
    setTimeout(() => later.abort(reason), 150)
    await expect(retrying).rejects.toBe(reason)
  })

  it('should not repeat for ever what breaks every time', async () => {
    await using api = await startFakeApi((request) => request.socket.destroy())
    await expect(connect(api, 60_000).call(GET)).rejects.toMatchObject({ kind: 'connection_lost' })
    expect(api.requests).toHaveLength(6)
  })

  it('should follow the service to another socket', async () => {
    await using one = await startFakeApi((_request, response) => answer(response, 200, { number: 1 }))
    await using two = await startFakeApi((_request, response) => answer(response, 200, { number: 2 }))
    let socketPath = one.socketPath
    const api = new PodmanApi(new DockerClient(() => socketPath))
    expect(await api.call(GET)).toEqual({ number: 1 })
    socketPath = two.socketPath
    expect(await api.call(GET)).toEqual({ number: 2 })
  })
})

function connect(api: FakeApi, patienceMs?: number): PodmanApi {
  return new PodmanApi(new DockerClient(() => api.socketPath), patienceMs)
}
