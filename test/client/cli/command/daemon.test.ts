import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { TestHost } from '../host.ts'
import { type StubDaemon, startStub } from '../stub-daemon.ts'

const status = {
  ...{ pid: 4711, version: '0.1.0', protocolVersion: 1, workspace: 'w', home: '/h', socket: '/s', log: '/l' },
  startedAt: '2026-01-02T03:00:05.000Z',
  engine: { state: 'up', reason: null, socket: '/p', owned: true, version: '4.3.1' },
  storage: { writable: true, reason: null },
  loops: { total: 3, running: 1, archived: 1, broken: 1 },
  ...{ clients: 1, leases: 0, memoryBytes: 50_000_000 },
}

describe('loopctl daemon', () => {
  let stub: StubDaemon

  beforeEach(async () => {
    stub = await startStub()
    stub.on('daemon/status', () => status)
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  it('should have pid, version, workspace and socket at the top of its JSON', async () => {
    const { code, stdout } = await new TestHost({ socket: stub.socket }).run('daemon', 'status', '--json')
    expect({ code, value: JSON.parse(stdout) as unknown }).toEqual({ code: 0, value: status })
  })

  it('should say for people how it is', async () => {
    stub.on('daemon/status', () => ({
      ...status,
      engine: { ...status.engine, state: 'down', reason: 'podman is missing' },
      storage: { writable: false, reason: 'the disk is full' },
    }))
    const { stdout } = await new TestHost({ socket: stub.socket }).run('daemon', 'status')
    expect(stdout).toContain('down: podman is missing')
    expect(stdout).toContain('read-only: the disk is full')
    expect(stdout).toContain('3: 1 running, 1 archived, 1 broken')
    expect(stdout).toContain('up for         4m')
  })

  it('should say that podman is not the one that was chosen', async () => {
    const reason = 'podman does not answer on /x, which engine.socket names (ENOENT)'
    stub.on('daemon/status', () => ({ ...status, engine: { ...status.engine, reason } }))
    const { stdout } = await new TestHost({ socket: stub.socket }).run('daemon', 'status')
    expect(stdout).toMatch(/^podman +4\.3\.1\n +podman does not answer on \/x, which engine\.socket names \(ENOENT\)$/m)
  })

  it('should start none only to show or to stop it', async () => {
    expect(await new TestHost().run('daemon', 'status')).toEqual({
      code: 6,
      stdout: '',
      stderr: 'loopctl: no daemon answers\n  → Start it.\n',
    })
    expect(await new TestHost().run('daemon', 'stop')).toEqual({ code: 0, stdout: '', stderr: 'No daemon runs.\n' })
  })

  it('should start one when asked to', async () => {
    expect((await new TestHost().run('daemon', 'start')).stderr).toContain('starting the daemon')
    expect((await new TestHost({ socket: stub.socket }).run('daemon', 'start')).stdout).toBe('4711\n')
  })

  it('should have stopped it when it says so, though it left without an answer', async () => {
    const child = spawn('sleep', ['60'])
    await once(child, 'spawn')
    stub.on('daemon/status', () => ({ ...status, pid: child.pid }))
    stub.on('daemon/shutdown', (_params, call) => {
      setTimeout(() => child.kill('SIGKILL'), 100)
      call.disconnect()
    })
    const gone = once(child, 'exit')
    expect((await new TestHost({ socket: stub.socket }).run('daemon', 'stop')).code).toBe(0)
    await gone
  })
})

describe('loopctl daemon restart', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'check-'))
  })
  afterEach(() => rm(directory, { recursive: true }))

  /** Puts a program in place of loopatd. */
  async function loopatd(script: string): Promise<Record<string, string>> {
    const path = join(directory, 'loopatd')
    await writeFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    return { LOOPATD: path, PATH: '/usr/bin:/bin' }
  }

  it('should leave the daemon alone that could not start again, and say why', async () => {
    await using stub = await startStub()
    const shutdown = vi.fn(() => null)
    stub.on('daemon/status', () => status)
    stub.on('daemon/shutdown', shutdown)
    const env = await loopatd('[ "$*" = --check ] || exit 1; echo "loopatd: config.toml:1: unknown key x" >&2; exit 2')
    expect(await new TestHost({ socket: stub.socket, env }).run('daemon', 'restart')).toEqual({
      code: 2,
      stdout: '',
      stderr: `loopctl: the daemon would not start again, so it goes on as it is
  loopatd: config.toml:1: unknown key x
  → Correct that, then try again.
`,
    })
    const missing = { LOOPATD: join(directory, 'none'), PATH: '' }
    expect((await new TestHost({ socket: stub.socket, env: missing }).run('daemon', 'restart')).code).toBe(2)
    expect(shutdown).not.toHaveBeenCalled()
  })
})

describe('loopctl daemon logs', () => {
  let home: string

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'home-'))
    await mkdir(join(home, 'log'))
    const lines = ['one', 'two', 'three'].map((msg) => JSON.stringify({ level: 'info', time: 'T', msg }))
    await writeFile(join(home, 'log', 'loopatd.log'), `${lines.join('\n')}\n`)
  })
  afterEach(() => rm(home, { recursive: true }))

  it('should show the latest lines without a daemon', async () => {
    expect((await new TestHost({ home }).run('daemon', 'logs', '-n', '2')).stdout).toBe('T INFO  two\nT INFO  three\n')
  })

  it('should show the lines as they are with --json', async () => {
    const { stdout } = await new TestHost({ home }).run('daemon', 'logs', '--json')
    expect(stdout.split('\n')[0]).toBe('{"level":"info","time":"T","msg":"one"}')
  })

  it('should follow until it is interrupted', async () => {
    const host = new TestHost({ home })
    const result = host.run('daemon', 'logs', '-f')
    await vi.waitFor(() => expect(host.stdout.text).toContain('three'))
    host.signal('SIGINT')
    expect((await result).code).toBe(130)
  })

  it('should say so when there is none', async () => {
    const { code, stderr } = await new TestHost({ home: '/nowhere' }).run('daemon', 'logs')
    expect(code).toBe(6)
    expect(stderr).toContain('/nowhere/log/loopatd.log')
  })

  it('should refuse a number of lines that is none', async () => {
    expect((await new TestHost({ home }).run('daemon', 'logs', '-n', 'all')).code).toBe(2)
  })
})
