import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { LoopatError } from '../../../protocol/error.ts'
import { type HostOptions, TestHost } from './host.ts'
import { loopInfo } from './loop.ts'
import { type StubDaemon, type StubStream, startStub } from './stub-daemon.ts'

/** What is known of a command that ended well. */
const END = {
  exitCode: 0,
  timedOut: false,
  durationMs: 5,
  stdout: null,
  stderr: null,
  droppedBytes: 0,
  linesOmitted: 0,
}

let stub: StubDaemon
/** The stream of the command that runs, once it does. */
let streamed: Promise<StubStream>

/** Lets the stub run a command. @param behave what the command does; it returns its exit code */
function command(behave: (stream: StubStream, signal: AbortSignal) => Promise<number>): void {
  streamed = new Promise((resolve) => {
    stub.on('exec/run', async (_params, call) => {
      const stream = await call.stream()
      resolve(stream)
      const exitCode = await behave(stream, call.signal)
      stream.end()
      return { ...END, exitCode }
    })
  })
}

function cancelled(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(new LoopatError('cancelled', 'exec/run was cancelled')))
  })
}

function host(options: HostOptions = {}): TestHost {
  return new TestHost({ socket: stub.socket, ...options })
}

beforeEach(async () => {
  stub = await startStub()
  stub.on('loop/start', () => ({ loop: loopInfo(), action: 'none', reason: null }))
})
afterEach(() => stub[Symbol.asyncDispose]())

describe('loopctl exec', () => {
  it('should keep the streams apart and hand on the exit code', async () => {
    command(async (stream) => {
      stream.send('stdout', 'out\n')
      stream.send('stderr', 'err\n')
      return 7
    })
    expect(await host({ input: '' }).run('exec', 'L', '--', 'x')).toEqual({ code: 7, stdout: 'out\n', stderr: 'err\n' })
  })

  it('should pass arguments on as they are', async () => {
    command(async () => 0)
    await host({ input: '', env: { HERE: 'yes' } }).run(
      ...['exec', '-u', 'root', '-w', '/tmp', '-e', 'A=b=c', '-e', 'HERE', '-e', 'GONE', 'L', 'x', '--', '-e', 'é'],
    )
    expect(stub.calls.at(-1)?.params).toMatchObject({
      loop: 'L',
      command: ['x', '--', '-e', 'é'],
      user: 'root',
      cwd: '/tmp',
      env: { A: 'b=c', HERE: 'yes' },
      start: true,
    })
  })

  it('should ask for what the options say', async () => {
    command(async () => 0)
    await host({ input: '' }).run('exec', '--timeout', '1.5s', '--max-output', '32k', '--shell', 'a | b', 'L')
    expect(stub.calls.at(-1)?.params).toMatchObject({
      loop: 'L',
      shell: 'a | b',
      timeoutMs: 1500,
      maxOutputBytes: 32_768,
    })
    expect(stub.calls.at(-1)?.params).not.toHaveProperty('command')
  })

  it.each([
    [['L'], 'exec: a command is missing'],
    [['L', '--'], 'exec: a command is missing'],
    [['L', '--json', 'x'], 'exec: options come before the loop: --json'],
    [['--shell', 'x', 'L', 'x'], 'exec: --shell and a command exclude each other'],
    [['--shell', '', 'L'], 'exec: the text for --shell is empty'],
    [['--timeout', '0', 'L', 'x'], "'0' is invalid"],
    [['--timeout', '5 minutes', 'L', 'x'], 'It is written as a number with ms, s, m or h, such as 30s.'],
    [['--timeout', '25d', 'L', 'x'], 'It must be 24 days at most.'],
    [['--max-output', 'much', 'L', 'x'], "'much' is invalid"],
    [['-e', 'A-B=1', 'L', 'x'], 'It must be NAME=VALUE or NAME.'],
  ])('should refuse %j', async (words, reason) => {
    const { code, stderr } = await host({ input: '' }).run('exec', ...words)
    expect(code).toBe(125)
    expect(stderr).toContain(reason)
    expect(stderr).toContain('\n  → Run: loopctl exec ')
    expect(stub.calls).toEqual([])
  })

  it('should exit with 124, after all output, when the time is over', async () => {
    stub.on('exec/run', async (_params, call) => {
      const stream = await call.stream()
      stream.send('stdout', 'half')
      stream.end()
      return { ...END, exitCode: 137, timedOut: true }
    })
    expect(await host({ input: '' }).run('exec', '--timeout', '2m', 'L', 'x')).toEqual({
      code: 124,
      stdout: 'half',
      stderr: 'loopctl: the command was ended: it took longer than 2m\n',
    })
  })

  it('should print everything as JSON', async () => {
    stub.on('exec/run', async (params, call) => {
      expect(params).toMatchObject({ maxOutputBytes: 1_048_576 })
      const stream = await call.stream()
      expect((await stream.stdin()).toString()).toBe('in')
      stream.send('stdout', 'ou')
      stream.send('stderr', 'err\n')
      stream.send('stdout', 't\n')
      stream.end()
      return { ...END, exitCode: 3, droppedBytes: 9, linesOmitted: 2 }
    })
    const { code, stdout, stderr } = await host({ input: 'in' }).run('exec', '--json', 'L', 'x')
    const { stdout: _stdout, stderr: _stderr, ...end } = END
    const expected = { ...end, exitCode: 3, droppedBytes: 9, linesOmitted: 2, stdout: 'out\n', stderr: 'err\n' }
    expect({ code, stderr, value: JSON.parse(stdout) }).toEqual({ code: 3, stderr: '', value: expected })
  })

  it('should carry every byte both ways', async () => {
    const input = Buffer.from(Array.from({ length: 3_000_000 }, (_, n) => (n * 7) % 256))
    command(async (stream) => {
      stream.send('stdout', (await stream.stdin()).subarray(0, 1_000_000))
      return 0
    })
    const here = host({ input })
    expect((await here.run('exec', 'L', 'cat')).code).toBe(0)
    expect(here.stdout.bytes.equals(input.subarray(0, 1_000_000))).toBe(true)
  })

  it('should not connect a terminal on stdin unless asked to', async () => {
    command(async (stream) => ((await stream.stdin()).length === 0 ? 0 : 1))
    expect((await host({ tty: { stdin: true }, input: 'x' }).run('exec', 'L', 'cat')).code).toBe(0)
    expect((await host({ tty: { stdin: true }, input: 'x' }).run('exec', '-i', 'L', 'cat')).code).toBe(1)
    expect((await host({ input: 'x' }).run('exec', '--no-stdin', 'L', 'cat')).code).toBe(0)
  })

  it('should end with the command, though stdin is still open', async () => {
    command(async () => 3)
    expect((await host().run('exec', 'L', 'x')).code).toBe(3)
  })

  it('should start a stopped loop first and show how that goes', async () => {
    stub.on('loop/start', (_params, call) => {
      call.progress({ message: 'building the image', step: 1, total: 2 })
      return { loop: loopInfo(), action: 'started', reason: null }
    })
    command(async () => 0)
    expect((await host({ input: '' }).run('exec', 'L', 'x')).stderr).toBe('[1/2] building the image\n')
  })

  it.each([true, false])('should say what the loop is for, and whether a person waits: %s', async (isTerminal) => {
    command(async () => 0)
    await host({ input: '', tty: { stderr: isTerminal } }).run('exec', 'L', 'make', 'x'.repeat(100))
    const asked = (wanted: string) => stub.calls.find(({ method }) => method === wanted)?.params
    expect(asked('loop/start')).toMatchObject({ loop: 'L', use: `exec: make ${'x'.repeat(69)}` })
    for (const method of ['loop/start', 'exec/run']) {
      const { interactive } = asked(method) as { interactive?: boolean }
      expect(interactive).toBe(isTerminal ? true : undefined)
    }
  })

  it('should not start a stopped loop when told not to', async () => {
    stub.on('exec/run', (params) => {
      expect(params).toMatchObject({ start: false })
      throw new LoopatError('loop_not_running', 'L is stopped')
    })
    expect((await host({ input: '' }).run('exec', '--no-start', 'L', 'x')).code).toBe(125)
    expect(stub.calls.map(({ method }) => method)).not.toContain('loop/start')
  })

  it.each([
    ['exec_not_found', 127],
    ['exec_not_executable', 126],
    ['engine_failed', 125],
    ['stream_invalid', 125],
  ] as const)('should tell %s by the exit code %i and say why', async (name, code) => {
    stub.on('exec/run', () => {
      throw new LoopatError(name, 'the reason')
    })
    expect(await host({ input: '' }).run('exec', 'L', 'x')).toEqual({
      code,
      stdout: '',
      stderr: 'loopctl: the reason\n',
    })
  })

  it('should fail with 125 when the daemon goes away in the middle', async () => {
    stub.on('exec/run', async (_params, call) => {
      const stream = await call.stream()
      stream.send('stdout', 'half')
      stream.destroy()
      call.disconnect()
    })
    const result = await host({ input: '' }).run('exec', 'L', 'x')
    expect(result.code).toBe(125)
    expect(result.stderr).toContain('the connection to the daemon was lost')
  })

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('should send %s into the loop', async (name) => {
    command(async (stream) => {
      expect(await stream.control()).toEqual({ type: 'signal', signal: name })
      return 42
    })
    const here = host({ input: '' })
    const result = here.run('exec', 'L', 'x')
    await streamed
    here.signal(name)
    expect((await result).code).toBe(42)
  })

  it('should end the command on the second Ctrl-C within two seconds', async () => {
    command((_stream, signal) => cancelled(signal))
    const here = host({ input: '' })
    const result = here.run('exec', 'L', 'x')
    await streamed
    here.signal('SIGINT')
    here.time += 2_500
    here.signal('SIGINT')
    here.time += 500
    here.signal('SIGINT')
    expect(await result).toMatchObject({ code: 130 })
    expect(here.exits).toEqual([])
  })

  it('should tell the daemon that it is stopped by Ctrl-Z, and that it goes on', async () => {
    const said: unknown[] = []
    stub.on('presence/set', ({ away }) => {
      said.push(away)
      return {}
    })
    command(async (stream) => {
      expect(await stream.control()).toEqual({ type: 'signal', signal: 'SIGTERM' })
      return 3
    })
    const here = host({ input: '' })
    const result = here.run('exec', 'L', 'x')
    await streamed
    const goOn = await here.suspend()
    expect(said).toEqual([true])
    goOn()
    await vi.waitFor(() => expect(said).toEqual([true, false]))
    here.signal('SIGTERM')
    expect((await result).code).toBe(3)
    expect(here.suspensions.size).toBe(0)
  })

  it.each([
    ['does not know what that means', () => Promise.reject(new LoopatError('method_not_found', 'what?'))],
    ['does not answer', () => new Promise(() => undefined)],
  ])('should be stopped by Ctrl-Z, too, when the daemon %s', async (_what, handler) => {
    stub.on('presence/set', handler)
    let finish: () => void = () => undefined
    command(async () => {
      await new Promise<void>((resolve) => {
        finish = resolve
      })
      return 0
    })
    const here = host({ input: '' })
    const result = here.run('exec', 'L', 'x')
    await streamed
    const goOn = await here.suspend()
    goOn()
    finish()
    expect((await result).code).toBe(0)
  })

  it('should leave at once on a third Ctrl-C', async () => {
    command(async () => await new Promise<number>(() => undefined))
    const here = host({ input: '' })
    void here.run('exec', 'L', 'x')
    await streamed
    for (let n = 0; n < 3; n += 1) here.signal('SIGINT')
    expect(here.exits).toEqual([130])
  })

  it('should exit with 130 when it is interrupted before the command begins', async () => {
    const started = new Promise<void>((resolve) => {
      stub.on('loop/start', (_params, call) => {
        resolve()
        return cancelled(call.signal)
      })
    })
    const here = host({ input: '' })
    const result = here.run('exec', 'L', 'x')
    await started
    here.signal('SIGINT')
    expect((await result).code).toBe(130)
    expect(stub.calls.map(({ method }) => method)).not.toContain('exec/run')
  })

  it('should end quietly, and end the command, when nobody reads its output', async () => {
    let ended = false
    command(async (stream, signal) => {
      stream.send('stdout', 'x')
      await cancelled(signal).catch(() => undefined)
      ended = true
      return 0
    })
    const here = host({ input: '' })
    here.stdout._write = (_chunk, _encoding, done: (error?: Error) => void) =>
      done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
    here.stdout.on('error', () => undefined)
    expect(await here.run('exec', 'L', 'yes')).toMatchObject({ code: 141, stderr: '' })
    await vi.waitFor(() => expect(ended).toBe(true))
  })
})

describe('loopctl shell', () => {
  const terminal = { tty: { stdin: true, stdout: true, stderr: true }, env: { TERM: 'xterm' } }

  it('should refuse to run without a terminal', async () => {
    const result = await host({ input: '' }).run('shell', 'L')
    expect(result.code).toBe(125)
    expect(result.stderr).toBe(
      'loopctl: shell: stdin is no terminal\n  → Run a command without one: loopctl exec L -- COMMAND\n',
    )
    expect(stub.calls).toEqual([])
  })

  it('should ask for a terminal of the size and kind that is here', async () => {
    command(async () => 0)
    await host(terminal).run('shell', 'L')
    expect(stub.calls.at(-1)?.params).toMatchObject({ tty: { cols: 80, rows: 24 }, env: { TERM: 'xterm' } })
  })

  it('should be raw while it runs, resize, and give the terminal back', async () => {
    command(async (stream) => {
      expect(await stream.control()).toEqual({ type: 'resize', cols: 100, rows: 24 })
      stream.send('stdout', '\x1b[?1049h')
      return 5
    })
    const here = host(terminal)
    const result = here.run('shell', 'L')
    await streamed
    await vi.waitFor(() => expect(here.modes).toEqual([true]))
    Object.assign(here.stdout, { columns: 100 })
    here.stdout.emit('resize')
    expect((await result).code).toBe(5)
    expect(here.modes).toEqual([true, false])
    expect(here.stdout.text).toBe('\x1b[?1049h')
    expect(here.exitListeners.size).toBe(0)
  })

  it('should give the terminal back while it is stopped', async () => {
    stub.on('presence/set', () => ({}))
    command((_stream, signal) => cancelled(signal))
    const here = host(terminal)
    const result = here.run('shell', 'L')
    await streamed
    await vi.waitFor(() => expect(here.modes).toEqual([true]))
    const goOn = await here.suspend()
    expect(here.modes).toEqual([true, false])
    goOn()
    expect(here.modes).toEqual([true, false, true])
    here.signal('SIGTERM')
    await result
    expect(here.modes).toEqual([true, false, true, false])
  })

  it('should give the terminal back, with what a program switched on switched off, when the daemon goes away', async () => {
    stub.on('exec/run', async (_params, call) => {
      const stream = await call.stream()
      stream.send('stdout', 'a\x1b[?104')
      stream.send('stdout', '9hb')
      await new Promise((resolve) => setTimeout(resolve, 50))
      stream.destroy()
      call.disconnect()
    })
    const here = host(terminal)
    const result = await here.run('shell', 'L')
    expect(result.code).toBe(125)
    expect(here.modes).toEqual([true, false])
    expect(result.stdout).toContain('\x1b[?25h')
    expect(result.stdout).toContain('\x1b[?1049l')
  })

  it('should not leave an alternate screen that was left before', async () => {
    stub.on('exec/run', async (_params, call) => {
      const stream = await call.stream()
      stream.send('stdout', '\x1b[?1049h\x1b[?1049l')
      await new Promise((resolve) => setTimeout(resolve, 50))
      call.disconnect()
    })
    const { stdout } = await host(terminal).run('shell', 'L')
    expect(stdout.split('\x1b[?1049l')).toHaveLength(2)
  })

  it.each([
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('should end the shell and give the terminal back on %s', async (name, code) => {
    command((_stream, signal) => cancelled(signal))
    const here = host(terminal)
    const result = here.run('shell', 'L')
    await streamed
    await vi.waitFor(() => expect(here.modes).toEqual([true]))
    here.signal(name)
    expect((await result).code).toBe(code)
    expect(here.modes).toEqual([true, false])
  })

  it('should give the terminal back when the program ends without warning', async () => {
    command(async () => await new Promise<number>(() => undefined))
    const here = host(terminal)
    void here.run('shell', 'L')
    await streamed
    await vi.waitFor(() => expect(here.modes).toEqual([true]))
    for (const listener of [...here.exitListeners]) listener()
    expect(here.modes).toEqual([true, false])
  })
})
