import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TestHost } from '../host.ts'
import { loopInfo } from '../loop.ts'
import { type StubDaemon, startStub } from '../stub-daemon.ts'

const lease = {
  id: 'h1',
  owner: 'hold',
  reason: 'a long\ttest',
  since: '2026-01-02T03:00:05.000Z',
  expiresAt: '2026-01-02T05:00:05.000Z',
}

describe('loopctl idle', () => {
  let stub: StubDaemon

  beforeEach(async () => {
    stub = await startStub()
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  const run = (...words: string[]) => new TestHost({ socket: stub.socket }).run('idle', ...words)
  const params = () => stub.calls.at(-1)?.params

  it('should explain what keeps a loop awake, and what happens next', async () => {
    const answer = {
      loop: loopInfo(),
      after: { window: 1_800_000, from: 'default' },
      leases: [lease, { ...lease, id: 'e1', owner: 'exec', reason: 'make', expiresAt: null }],
      lastActivity: { at: '2026-01-02T03:04:00.000Z', what: 'exec: make' },
      next: { action: 'stay-awake', at: null, because: 'there are 2 leases on it' },
      failure: null,
    }
    stub.on('idle/why', () => answer)
    expect(await run('why', 'fix-login')).toEqual({
      code: 0,
      stderr: '',
      stdout: [
        'loop           fix-login',
        'state          running',
        'next           there are 2 leases on it',
        'sleeps after   30m (the default)',
        'awake for      hold: a long\\x09test (since 4m, until 2026-01-02T05:00:05.000Z) h1',
        'awake for      exec: make (since 4m) e1',
        'last activity  2026-01-02T03:04:00.000Z (5s ago): exec: make',
        '',
      ].join('\n'),
    })
    expect(JSON.parse((await run('why', 'fix-login', '--json')).stdout)).toEqual(answer)
  })

  it('should tell that a loop could not be stopped', async () => {
    stub.on('idle/why', () => ({
      loop: loopInfo(),
      after: { window: 'never', from: 'loop' },
      leases: [],
      lastActivity: null,
      next: { action: 'sleep', at: '2026-01-02T03:05:05.000Z', because: 'nobody uses it; it sleeps in 1m' },
      failure: {
        at: '2026-01-02T03:04:00.000Z',
        message: 'podman is down',
        attempts: 2,
        retryAt: '2026-01-02T03:05:05.000Z',
      },
    }))
    const { stdout } = await run('why', 'x')
    expect(stdout).toContain('it sleeps in 1m, at 2026-01-02T03:05:05.000Z')
    expect(stdout).toContain('podman is down (attempt 2, again at 2026-01-02T03:05:05.000Z)')
    expect(stdout).toContain('never (set for this loop)')
  })

  it.each([
    ['10m', 600_000],
    ['1h30m', 5_400_000],
    ['never', 'never'],
    ['default', null],
  ])('should set the window: %s', async (text, after) => {
    stub.on('idle/set', () => ({ after: { window: 600_000, from: 'loop' } }))
    expect(await run('set', 'x', text)).toEqual({ code: 0, stdout: '10m (set for this loop)\n', stderr: '' })
    expect(params()).toEqual({ loop: 'x', after })
  })

  it('should say that the environment comes before', async () => {
    stub.on('idle/set', () => ({ after: { window: 1000, from: 'environment' } }))
    expect((await run('set', 'x', '5m')).stderr).toContain('LOOPAT_CONTAINER_IDLE_MS')
  })

  it('should hold and release', async () => {
    stub.on('idle/hold', () => ({ hold: lease }))
    expect(await run('hold', 'x', '--for', '2h', '--reason', 'r')).toEqual({ code: 0, stdout: 'h1\n', stderr: '' })
    expect(params()).toEqual({ loop: 'x', forMs: 7_200_000, reason: 'r' })
    expect(JSON.parse((await run('hold', 'x', '--for', '2h', '--json')).stdout)).toEqual(lease)
    stub.on('idle/release', () => ({ released: 1 }))
    expect((await run('release', 'x')).code).toBe(0)
    expect(params()).toEqual({ loop: 'x' })
    expect((await run('release', 'x', 'h1')).code).toBe(0)
    expect(params()).toEqual({ loop: 'x', lease: 'h1' })
  })

  it.each([
    [['set', 'x', '0']],
    [['set', 'x', '0m']],
    [['set', 'x', '-5m']],
    [['set', 'x', '10x']],
    [['set', 'x']],
    [['hold', 'x']],
    [['hold', 'x', '--for', 'never']],
    [['hold', 'x', '--for', '0s']],
    [['why']],
    [[]],
  ])('should refuse %j', async (words) => {
    const { code, stderr } = await run(...words)
    expect(code).toBe(2)
    expect(stderr).toContain('loopctl idle')
    expect(stub.calls).toEqual([])
  })
})
