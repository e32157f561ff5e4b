import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { candidateSockets, describeSilent, locatePodman } from '../../../../daemon/engine/podman/locate.ts'
import { ping } from '../../../../daemon/engine/podman/ping.ts'
import { answer, startFakeApi } from '../../../harness/podman-api.ts'

describe('candidateSockets', () => {
  it('should prefer the environment, then the configuration, then the usual place', () => {
    expect(candidateSockets({ environment: 'unix:///a', config: '/b', xdgRuntimeDir: '/run/user/1' })).toEqual([
      { socketPath: '/a', setting: 'LOOPAT_PODMAN_SOCKET' },
      { socketPath: '/b', setting: 'engine.socket' },
      { socketPath: '/run/user/1/podman/podman.sock' },
    ])
    expect(candidateSockets({ environment: '', config: undefined })).toEqual([])
    expect(candidateSockets({ environment: '/a', config: '/a' })).toEqual([
      { socketPath: '/a', setting: 'LOOPAT_PODMAN_SOCKET' },
    ])
  })
})

describe('locatePodman', () => {
  it('should take the first that answers as podman, and say what the others said', async () => {
    await using docker = await startFakeApi((_request, response) => response.end('OK'))
    await using podman = await startFakeApi((_request, response) => answer(response, 200, 'OK'))
    const missing = join(podman.socketPath, '..', 'missing.sock')
    const chosen = { socketPath: missing, setting: 'engine.socket' }
    const others = [docker.socketPath, podman.socketPath, '/never'].map((socketPath) => ({ socketPath }))
    expect(await locatePodman([chosen, ...others])).toEqual({
      podman: { socketPath: podman.socketPath, version: '4.3.1' },
      silent: [
        { ...chosen, reason: 'ENOENT' },
        { socketPath: docker.socketPath, reason: 'something else than podman answers (HTTP 200)' },
      ],
    })
    expect(await locatePodman([chosen])).toMatchObject({ podman: undefined })
  })
})

describe('describeSilent', () => {
  it('should tell of what somebody chose, and of nothing else', () => {
    const usual = { socketPath: '/run/p.sock', reason: 'ENOENT' }
    expect(describeSilent([usual])).toBeUndefined()
    expect(describeSilent([{ socketPath: '/a', setting: 'engine.socket', reason: 'ENOENT' }, usual])).toBe(
      'podman does not answer on /a, which engine.socket names (ENOENT)',
    )
  })
})

describe('ping', () => {
  it('should not wait for ever, and stop when told', async () => {
    await using hanging = await startFakeApi(() => undefined)
    expect(await ping(hanging.socketPath, 50)).toEqual({ kind: 'silent', reason: 'no answer within 50 ms' })
    const abort = new AbortController()
    const waiting = ping(hanging.socketPath, 60_000, abort.signal)
    abort.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
  })
})
