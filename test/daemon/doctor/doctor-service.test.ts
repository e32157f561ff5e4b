import { beforeEach, describe, expect, it } from 'vitest'
import type { WorkspaceFacts } from '../../../daemon/doctor/check-workspace.ts'
import { DoctorService } from '../../../daemon/doctor/doctor-service.ts'
import { atLeast } from '../../../daemon/doctor/finding.ts'
import { type HostProbe, hostProbe } from '../../../daemon/doctor/host-probe.ts'
import { EngineError, type EngineInfo } from '../../../daemon/engine/engine.ts'

const GIB = 1_073_741_824

interface Host {
  uid: number
  missing: Set<string>
  versions: Record<string, string>
  files: Record<string, string>
  unwritable: Set<string>
  freeBytes: number
  homeMode: number
}

function probeOf(host: Host): HostProbe {
  return {
    uid: host.uid,
    userName: 'me',
    which: async (program) => (host.missing.has(program) ? undefined : `/usr/bin/${program}`),
    version: async (program) => host.versions[program] ?? `${program} version 9.9.9`,
    read: async (path) => host.files[path],
    stat: async (path) => (path.startsWith('/h') ? { uid: host.uid, mode: host.homeMode } : undefined),
    writable: async (path) => !host.unwritable.has(path),
    freeBytes: async () => host.freeBytes,
  }
}

describe('doctor', () => {
  let host: Host
  let info: EngineInfo | EngineError
  let facts: WorkspaceFacts
  /** Why the socket that was chosen is not used. */
  let reason: string | null

  beforeEach(() => {
    host = {
      uid: 1000,
      missing: new Set(),
      versions: {},
      files: { '/etc/subuid': 'me:100000:65536\n', '/etc/subgid': '1000:100000:65536\n' },
      unwritable: new Set(),
      freeBytes: 50 * GIB,
      homeMode: 0o700,
    }
    info = {
      version: '4.3.1',
      rootless: true,
      storageDriver: 'overlay',
      networkBackend: 'netavark',
      cgroupVersion: '2',
      cgroupControllers: ['memory', 'pids'],
    }
    reason = null
    facts = {
      home: '/h',
      runtime: '/h/run',
      broken: [],
      refusedMounts: [],
      hostFaults: [],
      storage: { writable: true, reason: null },
      image: { tag: 'localhost/x:1', present: true, createdAt: '2026-01-01T00:00:00Z', source: 'built' },
      hasBase: false,
      now: new Date('2026-01-02T00:00:00Z'),
    }
  })

  const run = async () => {
    const service = new DoctorService({
      probe: probeOf(host),
      engine: { info: async () => (info instanceof EngineError ? Promise.reject(info) : info) },
      engineState: () => ({ state: 'up', reason, socket: '/s', owned: true, version: null }),
      workspace: async () => facts,
    })
    const { ready, checks } = await service.run({}, new AbortController().signal)
    return { ready, bad: checks.filter((check) => check.status !== 'ok') }
  }

  it('should find nothing on a host that has everything', async () => {
    expect(await run()).toEqual({ ready: true, bad: [] })
  })

  it.each<[string, () => void, string, 'failed' | 'warning', RegExp]>([
    ['root', () => (host.uid = 0), 'user', 'failed', /unprivileged user/],
    ['a missing podman', () => host.missing.add('podman'), 'program-podman', 'failed', /apt-get install podman/],
    ['an old podman', () => (host.versions.podman = 'podman version 4.2.9'), 'program-podman', 'failed', /4\.3/],
    ['no runtime at all', () => host.missing.add('crun').add('runc'), 'program-crun', 'failed', /install crun/],
    [
      'a podman socket that was chosen and does not answer',
      () => (reason = 'podman does not answer on /x, which engine.socket names (ENOENT)'),
      'engine-socket',
      'warning',
      /take the setting away/,
    ],
    ['no ssh', () => host.missing.add('ssh'), 'program-ssh', 'warning', /openssh-client/],
    [
      'too few subordinate ids',
      () => (host.files['/etc/subuid'] = 'me:1:100\nyou:1:65536\n'),
      'subuid',
      'failed',
      /usermod --add-subuids/,
    ],
    [
      'forbidden user namespaces',
      () => (host.files['/proc/sys/user/max_user_namespaces'] = '0\n'),
      'user-namespaces',
      'failed',
      /sysctl/,
    ],
    ['a closed /dev/net/tun', () => host.unwritable.add('/dev/net/tun'), 'device-tun', 'failed', /chmod 0666/],
    ['a closed /dev/fuse', () => host.unwritable.add('/dev/fuse'), 'device-fuse', 'warning', /chmod 0666/],
    ['an open home', () => (host.homeMode = 0o755), 'home', 'failed', /chmod 0700/],
    ['a full disk', () => (host.freeBytes = 1), 'disk', 'failed', /free some space/],
    [
      'metadata that cannot be written',
      () => (facts = { ...facts, storage: { writable: false, reason: 'ENOSPC' } }),
      'disk',
      'failed',
      /writable/,
    ],
    [
      'a broken loop',
      () => (facts = { ...facts, broken: [{ id: 'abc', reason: 'bad JSON' }] }),
      'loop-abc',
      'warning',
      /meta\.json/,
    ],
    [
      'a podman that loses containers',
      () => (info = { ...(info as EngineInfo), version: '4.8.0' }),
      'engine-version',
      'warning',
      /4\.8\.1/,
    ],
    ['vfs', () => (info = { ...(info as EngineInfo), storageDriver: 'vfs' }), 'storage-driver', 'warning', /overlay/],
    ['no limits', () => (info = { ...(info as EngineInfo), cgroupControllers: [] }), 'cgroups', 'warning', /cgroup v2/],
    [
      'a rootful podman',
      () => (info = { ...(info as EngineInfo), rootless: false }),
      'rootless',
      'failed',
      /your own user/,
    ],
    ['a silent podman', () => (info = new EngineError('unavailable', 'gone')), 'engine', 'failed', /daemon restart/],
    [
      'a mount that is left out',
      () => (facts = { ...facts, refusedMounts: [{ source: '/x', target: '/y', why: '/x does not exist' }] }),
      'mount-1',
      'warning',
      /\[\[mounts\]\]/,
    ],
    [
      'a grant that lets nothing run',
      () =>
        (facts = {
          ...facts,
          hostFaults: [{ what: 'grant 0123abcd, gh *', why: '/usr/bin/gh is not there any more' }],
        }),
      'host-command-1',
      'warning',
      /host ls/,
    ],
    ['an old image', () => (facts = { ...facts, now: new Date('2026-06-01') }), 'image', 'warning', /--rebuild/],
  ])('should name %s and what mends it', async (_what, spoil, name, status, fix) => {
    spoil()
    const { ready, bad } = await run()
    expect(bad).toContainEqual(expect.objectContaining({ name, status, fix: expect.stringMatching(fix) }))
    expect(ready).toBe(status === 'warning')
  })

  it('should not find an image that can neither be pulled nor made', async () => {
    host.missing.add('mmdebstrap')
    expect((await run()).ready).toBe(true)
    facts = { ...facts, image: { tag: 'localhost/x:1', present: false, createdAt: null, source: 'built' } }
    expect((await run()).ready).toBe(false)
  })

  it('should compare versions by number', () => {
    expect(atLeast('podman version 4.10.0', [4, 3])).toBe(true)
    expect(atLeast('git version 2.39.5', [2, 40])).toBe(false)
    expect(atLeast('no number', [1])).toBe(false)
  })

  it('should probe this machine', async () => {
    const probe = hostProbe({ uid: 1, name: 'x' }, { PATH: '/usr/bin:/bin' })
    expect(await probe.which('sh')).toMatch(/\/sh$/)
    expect(await probe.which('no-such-program')).toBeUndefined()
    expect(await probe.version('git')).toContain('git version')
    expect(await probe.read('/no/such/file')).toBeUndefined()
    expect(await probe.freeBytes('/')).toBeGreaterThan(0)
  })
})
