import { describe, expect, it } from 'vitest'
import type { ContainerSpec } from '../../../../daemon/engine/engine.ts'
import { createBody } from '../../../../daemon/engine/podman/container-spec.ts'

const SPEC: ContainerSpec = {
  name: 'loopat-x-1',
  image: 'localhost/x:1',
  hostname: 'host',
  labels: { 'loopat.loop-id': '1' },
  command: ['/bin/sh', '-c', 'sleep 1'],
  workdir: '/work',
  env: { A: '1', B: 'two\nlines' },
  mounts: [
    { source: '/a', target: '/b', readOnly: true },
    { source: '/c', target: '/d', readOnly: false },
  ],
  keepId: { uid: 2000, gid: 2001 },
  init: true,
  network: { kind: 'named', name: 'net', aliases: ['one'] },
  dns: [],
  limits: {},
  stopTimeoutSeconds: 7,
}

describe('createBody', () => {
  it('should say everything that podman has to know', () => {
    expect(createBody(SPEC)).toEqual({
      Image: 'localhost/x:1',
      Hostname: 'host',
      Labels: { 'loopat.loop-id': '1' },
      Entrypoint: ['/bin/sh'],
      Cmd: ['-c', 'sleep 1'],
      User: '2000:2001',
      WorkingDir: '/work',
      Env: ['A=1', 'B=two\nlines'],
      StopTimeout: 7,
      HostConfig: {
        Binds: ['/a:/b:ro', '/c:/d:rw'],
        Init: true,
        NetworkMode: 'net',
        UsernsMode: 'keep-id:uid=2000,gid=2001',
        SecurityOpt: ['label=disable'],
      },
      NetworkingConfig: { EndpointsConfig: { net: { Aliases: ['one'] } } },
    })
    expect(createBody({ ...SPEC, network: { kind: 'none' } })).toMatchObject({ HostConfig: { NetworkMode: 'none' } })
  })

  it('should say which name servers and limits are asked for', () => {
    const limits = { memoryBytes: 67_108_864, cpus: 0.29, pids: 100 }
    expect(createBody({ ...SPEC, dns: ['192.0.2.1'], limits })).toMatchObject({
      HostConfig: {
        Dns: ['192.0.2.1'],
        Memory: 67_108_864,
        // No swap on top.
        MemorySwap: 67_108_864,
        NanoCpus: 290_000_000,
        PidsLimit: 100,
      },
    })
  })

  it.each(['/a:b', '/a,b', '/a\nb', '/a\x7f', 'relative', ''])('should refuse to mount %j', (path) => {
    const refusal = expect.objectContaining({ kind: 'failed' })
    const mount = (bind: object) => ({ ...SPEC, mounts: [{ source: '/a', target: '/b', readOnly: true, ...bind }] })
    expect(() => createBody(mount({ source: path }))).toThrow(refusal)
    expect(() => createBody(mount({ target: path }))).toThrow(refusal)
  })

  it('should refuse to map the user to root', () => {
    expect(() => createBody({ ...SPEC, keepId: { uid: 0, gid: 0 } })).toThrow(/root/)
  })
})
