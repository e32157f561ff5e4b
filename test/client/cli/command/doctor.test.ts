import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TestHost } from '../host.ts'
import { type StubDaemon, startStub } from '../stub-daemon.ts'

const good = { name: 'podman', label: 'podman', status: 'ok', message: '4.3.1', fix: null }
const poor = { name: 'git', label: 'git', status: 'warning', message: 'old\x1b', fix: 'apt-get install git' }
const bad = { name: 'subuid', label: 'subordinate uids', status: 'failed', message: 'none', fix: 'usermod …' }

describe('loopctl doctor', () => {
  let stub: StubDaemon

  beforeEach(async () => {
    stub = await startStub()
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  it('should exit with 0 when a loop can run, though something could be better', async () => {
    stub.on('doctor/run', () => ({ ready: true, checks: [good, poor] }))
    expect(await new TestHost({ socket: stub.socket }).run('doctor')).toEqual({
      code: 0,
      stdout: 'ok    podman: 4.3.1\nwarn  git: old\\x1b\n      → apt-get install git\n',
      stderr: 'Ready: a loop can run.\n',
    })
  })

  it('should exit with 5 when none can, and say what mends it', async () => {
    stub.on('doctor/run', () => ({ ready: false, checks: [good, bad] }))
    const { code, stdout, stderr } = await new TestHost({ socket: stub.socket }).run('doctor')
    expect(code).toBe(5)
    expect(stdout).toContain('FAIL  subordinate uids: none\n      → usermod …\n')
    expect(stderr).toBe('Not ready: 1 thing to mend.\n')
  })

  it('should print its report as JSON', async () => {
    const report = { ready: false, checks: [bad] }
    stub.on('doctor/run', () => report)
    const { code, stdout } = await new TestHost({ socket: stub.socket }).run('doctor', '--json')
    expect({ code, value: JSON.parse(stdout) as unknown }).toEqual({ code: 5, value: report })
  })

  it('should take a daemon that does not start for a finding', async () => {
    const { code, stdout } = await new TestHost().run('doctor', '--json')
    expect(code).toBe(5)
    expect(JSON.parse(stdout)).toEqual({
      ready: false,
      checks: [
        { name: 'daemon', label: 'the daemon', status: 'failed', message: 'no daemon answers', fix: 'Start it.' },
      ],
    })
  })
})
