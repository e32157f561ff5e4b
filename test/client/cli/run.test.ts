import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LoopatError } from '../../../protocol/error.ts'
import { VERSION } from '../../../protocol/version.ts'
import { TestHost } from './host.ts'
import { type StubDaemon, startStub } from './stub-daemon.ts'

let stub: StubDaemon

beforeEach(async () => {
  stub = await startStub()
})
afterEach(() => stub[Symbol.asyncDispose]())

describe('loopctl', () => {
  it.each([
    [[], 'a command is missing'],
    [['nonsense'], "unknown command 'nonsense'"],
    [['--nonsense'], "unknown option '--nonsense'"],
    [['ls', '--nonsense'], "unknown option '--nonsense'"],
    [['ls', 'extra'], 'too many arguments'],
    [['show'], "missing required argument 'loop'"],
    [['daemon'], 'daemon: a command is missing'],
    [['daemon', 'nonsense'], "unknown command 'nonsense'"],
    [['image'], 'image: a command is missing'],
    [['events', '--kind', 'nonsense'], 'Allowed choices are'],
    [['completion', 'tcsh'], 'Allowed choices are'],
  ])('should refuse %j with exit code 2, the reason and where help is', async (argv, reason) => {
    const { code, stdout, stderr } = await new TestHost().run(...argv)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^loopctl: /)
    expect(stderr).toContain(reason)
    expect(stderr).toMatch(/\n {2}→ Run: loopctl .*--help\n$/)
  })

  it('should use 125 for bad usage of exec, since 2 may be the command', async () => {
    for (const argv of [
      ['exec'],
      ['exec', 'L'],
      ['exec', '--bad', 'L', 'x'],
      ['exec', 'L', '-w', '/', 'x'],
      ['exec', 'L', '--'],
    ]) {
      expect((await new TestHost().run(...argv)).code).toBe(125)
    }
    expect((await new TestHost().run('exec', '-e', '1=2', 'L', 'x')).stderr).toContain('NAME=VALUE')
  })

  it.each([['--help'], ['-h'], ['help'], ['ls', '--help'], ['help', 'ls'], ['daemon', 'logs', '--help']])(
    'should print help to stdout for %s %s %s',
    async (...argv) => {
      const { code, stdout, stderr } = await new TestHost().run(...argv.filter((word) => word !== undefined))
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toMatch(/^Usage: loopctl /)
    },
  )

  it('should show every command in its help, and not what is only for the completion scripts', async () => {
    const { stdout } = await new TestHost().run('--help')
    const words =
      'create ls show start stop restart rename archive unarchive rm exec shell image daemon doctor events rpc completion version'
    for (const word of words.split(' ')) expect(stdout).toMatch(new RegExp(`^ {2}${word} `, 'm'))
    expect(stdout).not.toContain('__complete')
  })

  it('should have all options of a command in its help', async () => {
    const { stdout } = await new TestHost().run('help', 'exec')
    expect(stdout).toContain('Usage: loopctl exec [options] <loop> [--] <command> [arguments...]')
    expect(stdout).toContain('--no-start')
  })

  it('should say that it starts the daemon, and what to do when that fails', async () => {
    expect(await new TestHost().run('ls')).toEqual({
      code: 6,
      stdout: '',
      stderr: 'loopctl: starting the daemon\nloopctl: no daemon answers\n  → Start it.\n',
    })
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('should cancel what is under way on %s, and leave at once on the second', async (name, code) => {
    let cancelled = false
    const asked = new Promise<void>((resolve) => {
      stub.on('loop/create', async (_params, { signal }) => {
        resolve()
        await new Promise((done) => signal.addEventListener('abort', done))
        cancelled = true
        throw new LoopatError('cancelled', 'loop/create was cancelled')
      })
    })
    const host = new TestHost({ socket: stub.socket })
    const result = host.run('create')
    await asked
    host.signal(name)
    expect(await result).toEqual({ code, stdout: '', stderr: 'loopctl: interrupted\n' })
    expect(cancelled).toBe(true)
    expect(host.exits).toEqual([])
  })

  it('should leave at once on the second signal', async () => {
    const asked = new Promise<void>((resolve) => {
      stub.on('loop/create', () => {
        resolve()
        return new Promise(() => undefined)
      })
    })
    const host = new TestHost({ socket: stub.socket })
    void host.run('create')
    await asked
    host.signal('SIGINT')
    host.signal('SIGINT')
    expect(host.exits).toEqual([130])
  })

  it('should take its signals back when it is done', async () => {
    const host = new TestHost()
    await host.run('version')
    expect(host.signals.eventNames()).toEqual([])
  })

  it('should print a version without a daemon', async () => {
    for (const argv of [['version'], ['--version'], ['-V']]) {
      expect(await new TestHost().run(...argv)).toEqual({ code: 0, stdout: `loopctl ${VERSION}\n`, stderr: '' })
    }
    const json: unknown = JSON.parse((await new TestHost().run('version', '--json')).stdout)
    expect(json).toEqual({ version: VERSION, protocolVersion: 1, node: process.versions.node })
  })
})
