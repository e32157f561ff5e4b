import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { CHANNEL, encodeFrame, frameHeader, MAX_FRAME_BYTES, STREAM_WINDOW_BYTES } from '@loopatd/protocol/frame'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HostGatewayStub, type StubCall } from '../../harness/host-gateway-stub.ts'
import { TestTerminal } from '../../harness/pty.ts'
import { Random } from '../../harness/random.ts'
import { until } from '../loop/kit.ts'

const TEMPLATE = fileURLToPath(new URL('../../../templates/loopat-host', import.meta.url))
/** Shells that an image may have as `/bin/sh`. */
const SHELLS = [['/bin/dash'], ['/bin/bash', '--posix'], ['/bin/busybox', 'sh']].filter(([program = '']) =>
  existsSync(program),
)
const ENV = { PATH: '/usr/bin:/bin' }

interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Buffer
  readonly stderr: string
}

let gateway: HostGatewayStub
/** The forwarder, and a link to it, as they are in a loop. */
let program: string
let gh: string

beforeEach(async () => {
  gateway = await HostGatewayStub.make()
  program = join(gateway.directory, 'loopat-host')
  gh = join(gateway.directory, 'bin/gh')
  await copyFile(TEMPLATE, program)
  await mkdir(join(gateway.directory, 'bin'))
  await symlink('../loopat-host', gh)
})
afterEach(() => gateway[Symbol.asyncDispose]())

async function outcome(child: ChildProcess): Promise<Outcome> {
  if (child.stdout === null || child.stderr === null) throw new Error('it has no pipes')
  const [stdout, stderr, [code, signal]] = await Promise.all([
    buffer(child.stdout),
    buffer(child.stderr),
    once(child, 'close'),
  ])
  return { code, signal, stdout, stderr: stderr.toString() }
}

/** Starts it without input. */
function start(file: string, args: readonly string[] = [], env: Record<string, string> = {}): ChildProcess {
  return spawn(file, args, { env: { ...ENV, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Runs it to its end, with an input or none. */
function run(file: string, args: readonly string[] = [], env: Record<string, string> = {}): Promise<Outcome> {
  return outcome(start(file, args, env))
}

/** Runs a script of a shell that has the forwarder as `$0`. */
function shell(script: string, ...args: string[]): ChildProcess {
  return spawn('/bin/sh', ['-c', script, gh, ...args], { env: ENV, stdio: ['pipe', 'pipe', 'pipe'] })
}

/** Starts it, and lets the command begin. */
async function begun(child: ChildProcess): Promise<{ call: StubCall; end: Promise<Outcome> }> {
  const end = outcome(child)
  const call = await gateway.call()
  call.started()
  return { call, end }
}

describe('the forwarder', () => {
  it('should be correct by the rules of perl', async () => {
    const { stderr } = await promisify(execFile)('perl', ['-wcx', TEMPLATE])
    expect(stderr).toBe(`${TEMPLATE} syntax OK\n`)
  })

  it('should load no module where there is no terminal, but the one that checks it', async () => {
    await gateway.listen()
    const text = 'END { print STDERR join " ", sort grep { !/loopat-host/ } keys %INC }'
    await writeFile(join(gateway.directory, 'Seen.pm'), `package Seen; ${text} 1;`)
    const { call, end } = await begun(
      spawn('perl', [`-I${gateway.directory}`, '-MSeen', '-x', program, 'gh'], { env: ENV }),
    )
    call.exit(0)
    expect((await end).stderr).toBe('Seen.pm strict.pm')
  })

  describe('asking', () => {
    beforeEach(() => gateway.listen())

    it('should say what, where and for which terminal, and end with the code that it gets', async () => {
      const env = { TERM: 'xterm', COLUMNS: '', NO_COLOR: '1', LANG: 'de_DE', GIT_DIR: '/x', LD_LIBRARY_PATH: '/y' }
      for (const code of [0, 1, 2, 124, 125, 126, 127, 130, 255]) {
        const { call, end } = await begun(start(gh, ['pr', '--help'], env))
        expect(call.request).toEqual({
          cwd: process.cwd(),
          size: '',
          variables: ['TERM=xterm', 'COLUMNS=', 'NO_COLOR=1'],
          argv: ['gh', 'pr', '--help'].map((word) => Buffer.from(word)),
        })
        call.exit(code)
        expect(await end).toEqual({ code, signal: null, stdout: Buffer.alloc(0), stderr: '' })
      }
    })

    it('should take the name as its first argument, and be found over any links', async () => {
      await symlink(program, join(gateway.directory, 'other'))
      await symlink('other', join(gateway.directory, 'phone'))
      const words = async (file: string, ...args: string[]) => {
        const { call, end } = await begun(start(file, args))
        call.exit(0)
        await end
        return call.request.argv.map(String)
      }
      expect(await words(program, 'gh', '--', 'x')).toEqual(['gh', '--', 'x'])
      expect(await words(program, '--', '-gh', '--', 'x')).toEqual(['-gh', '--', 'x'])
      expect(await words(program, '')).toEqual([''])
      expect(await words(gh, '--', 'x')).toEqual(['gh', '--', 'x'])
      expect(await words(join(gateway.directory, 'phone'), '--help')).toEqual(['phone', '--help'])
    })

    it('should pass on arguments of any bytes', async () => {
      const random = Random.fromEnvironment('LOOPAT_FORWARDER_SEED')
      for (let round = 0; round < 12; round += 1) {
        const size = () => random.below(random.pick([1, 4, 300, 60_000]))
        const args = Array.from({ length: random.below(6) }, () =>
          Buffer.from(Array.from({ length: size() }, () => 1 + random.below(random.pick([255, 127, 40])))),
        )
        // What starts programs here takes text only.
        const exec = 'exec {$ARGV[0]} map { pack "H*", $_ } @ARGV[1 .. $#ARGV] or die $!'
        const hex = [program, Buffer.from('gh'), ...args].map((word) => word.toString('hex'))
        const child = spawn('perl', ['-e', exec, program, ...hex], { env: ENV, stdio: ['ignore', 'pipe', 'pipe'] })
        const { call, end } = await begun(child)
        call.exit(0)
        expect((await end).stderr).toBe('')
        const what = `seed ${random.seed}, round ${round}`
        expect(
          call.request.argv.map((word) => word.toString('hex')),
          what,
        ).toEqual(hex.slice(1))
      }
    })

    it('should refuse arguments that fit into no request', async () => {
      const script = 'x=$(head -c 120000 /dev/zero | tr "\\0" x); exec "$0" $x $x $x $x $x $x $x $x $x $x'
      const { code, stderr } = await outcome(shell(script))
      expect({ code, stderr }).toEqual({
        code: 126,
        stderr: 'loopat-host: the arguments of "gh" are too long for a command of the host\n',
      })
    })

    it('should be no matter of the variables of perl and of the locale', async () => {
      const env = { PERL5OPT: '-CSDA -w', PERL_UNICODE: 'SDA', PERL5LIB: '/nowhere', LC_ALL: 'xx_XX.nope' }
      const { call, end } = await begun(start(gh, ['é'], env))
      await call.send(CHANNEL.stdout, 'ü\xff')
      call.exit(0)
      expect(call.request.argv[1]).toEqual(Buffer.from('é'))
      expect(await end).toMatchObject({ code: 0, stdout: Buffer.from('ü\xff'), stderr: '' })
    })

    it('should say what its caller should know before the command begins, and be refused', async () => {
      const end = run(gh, ['secret'])
      const call = await gateway.call()
      await call.send(CHANNEL.stderr, 'not on this day\n')
      call.exit(126)
      expect(await end).toMatchObject({ code: 126, stdout: Buffer.alloc(0), stderr: 'not on this day\n' })
    })
  })

  describe('streaming', () => {
    beforeEach(() => gateway.listen())

    it('should carry input and output of any size unchanged', async () => {
      const random = Random.fromEnvironment('LOOPAT_FORWARDER_SEED')
      for (const bound of [1, 2, 70_000, 70_000, 5_000_000, 5_000_000]) {
        const input = Buffer.alloc(random.below(bound), 0)
        for (let at = 0; at < input.length; at += 1) input[at] = random.below(256)
        const child = spawn(gh, [], { env: ENV })
        child.stdin.end(input)
        const { call, end } = await begun(child)
        for await (const chunk of call.stdin as AsyncIterable<Buffer>) {
          call.ack(chunk.length)
          await call.send(CHANNEL.stdout, chunk)
        }
        call.exit(7)
        const { code, stdout } = await end
        expect(code).toBe(7)
        expect(stdout.equals(input), `seed ${random.seed}, ${input.length} bytes`).toBe(true)
      }
    })

    it('should keep both outputs apart, whatever the frames are cut into', async () => {
      const { call, end } = await begun(start(gh))
      const one = randomBytes(300_000)
      const two = randomBytes(100_000)
      const frames = [
        encodeFrame(CHANNEL.stdout, one.subarray(0, 200_000)),
        encodeFrame(CHANNEL.stderr, Buffer.from(two.toString('hex'))),
        encodeFrame(CHANNEL.control, Buffer.from('{"type":"unknown","x":1}')),
        encodeFrame(CHANNEL.stdout, one.subarray(200_000)),
      ]
      const bytes = Buffer.concat(frames)
      for (let at = 0; at < bytes.length; at += 7919) await call.write(bytes.subarray(at, at + 7919))
      for (const byte of encodeFrame(CHANNEL.stdout, Buffer.from('end'))) await call.write(Buffer.of(byte))
      call.exit(0)
      const { stdout, stderr } = await end
      expect(stdout.equals(Buffer.concat([one, Buffer.from('end')]))).toBe(true)
      expect(stderr).toBe(two.toString('hex'))
    })

    it('should leave its input alone until the command runs', async () => {
      const child = shell('"$0"; cat')
      const end = outcome(child)
      child.stdin?.end('for somebody else')
      const call = await gateway.call()
      call.exit(126)
      expect((await end).stdout.toString()).toBe('for somebody else')
      expect(call.bytesIn).toBe(0)
    })

    it('should send no more input than the window has room for', async () => {
      const child = spawn(gh, [], { env: ENV })
      child.stdin.on('error', () => undefined)
      child.stdin.end(Buffer.alloc(3 * STREAM_WINDOW_BYTES))
      const { call, end } = await begun(child)
      for (const bytes of [STREAM_WINDOW_BYTES, STREAM_WINDOW_BYTES + 10]) {
        await until(() => call.bytesIn === bytes)
        await sleep(50)
        expect(call.bytesIn).toBe(bytes)
        call.ack(10)
      }
      call.exit(3)
      expect((await end).code).toBe(3)
    })

    it('should close its output when the command does, and go on', async () => {
      const child = shell('exec "$0" | { cat; echo eof; }')
      let seen = ''
      child.stdout?.on('data', (chunk) => {
        seen += chunk
      })
      const { call, end } = await begun(child)
      await call.send(CHANNEL.stdout, 'all')
      await call.send(CHANNEL.stdout, '')
      await until(() => seen === 'alleof\n')
      child.stdin?.end('more')
      expect(String(await call.readAll())).toBe('more')
      await call.send(CHANNEL.stderr, 'still here')
      call.exit(0)
      expect((await end).stderr).toBe('still here')
    })

    it('should end as a local command when nobody reads its output', async () => {
      const child = start(gh)
      const end = once(child, 'exit')
      const call = await gateway.call()
      call.started()
      child.stdout?.destroy()
      await sleep(50)
      await call.send(CHANNEL.stdout, 'x')
      await call.closed
      expect(await end).toEqual([null, 'SIGPIPE'])
    })

    it('should tell when nobody reads its output and that is not to end it', async () => {
      const child = shell('trap "" PIPE; { "$0"; echo "code $?" >&2; } | true')
      const { call, end } = await begun(child)
      await sleep(100)
      await call.send(CHANNEL.stdout, 'x')
      await call.closed
      expect((await end).stderr).toBe('loopat-host: cannot write the output of "gh": Broken pipe\ncode 1\n')
    })

    it('should tell that an output is full', async () => {
      const { call, end } = await begun(shell('"$0" >/dev/full'))
      await call.send(CHANNEL.stdout, 'x')
      expect(await end).toMatchObject({ code: 1, stderr: expect.stringContaining('No space left on device') })
    })

    it('should not mix up streams that are closed', async () => {
      const { call, end } = await begun(shell('"$0" <&- 2>&-'))
      expect(await call.readAll()).toEqual(Buffer.alloc(0))
      await call.send(CHANNEL.stderr, 'nowhere')
      await call.send(CHANNEL.stdout, 'out')
      call.exit(5)
      expect(await end).toEqual({ code: 5, signal: null, stdout: Buffer.from('out'), stderr: '' })
      const { call: other, end: otherEnd } = await begun(shell('"$0" <&- >&-'))
      await other.send(CHANNEL.stdout, 'out')
      expect(await otherEnd).toMatchObject({ code: 1, stderr: expect.stringContaining('Bad file descriptor') })
    })
  })

  describe('being sent signals', () => {
    beforeEach(() => gateway.listen())

    const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const

    it('should pass them on, and end as the command does', async () => {
      for (const signal of SIGNALS) {
        const child = start(gh)
        const { call, end } = await begun(child)
        await call.send(CHANNEL.stdout, 'ready')
        if (child.stdout !== null) await once(child.stdout, 'readable')
        child.kill(signal)
        expect(await call.message()).toEqual({ type: 'signal', signal })
        child.kill(signal)
        expect(await call.message()).toEqual({ type: 'signal', signal })
        const number = constants.signals[signal]
        call.exit(128 + number)
        const ended = signal === 'SIGQUIT' ? { code: 131, signal: null } : { code: null, signal }
        expect(await end).toMatchObject({ ...ended, stderr: '' })
      }
    })

    it('should end with the code of a command that does something else', async () => {
      const child = start(gh)
      const { call, end } = await begun(child)
      await call.send(CHANNEL.stdout, 'ready')
      if (child.stdout !== null) await once(child.stdout, 'readable')
      child.kill('SIGINT')
      await call.message()
      call.exit(0)
      expect(await end).toMatchObject({ code: 0, signal: null })
    })

    it('should end at once before the command runs', async () => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) {
        const child = start(gh)
        const end = outcome(child)
        const call = await gateway.call()
        child.kill(signal)
        expect(await end).toMatchObject({ code: null, signal, stderr: '' })
        await call.closed
      }
    })

    it('should ignore those that it was started to ignore', async () => {
      const child = shell('trap "" INT; exec "$0"')
      const { call, end } = await begun(child)
      await call.send(CHANNEL.stdout, 'ready')
      if (child.stdout !== null) await once(child.stdout, 'readable')
      child.kill('SIGINT')
      await sleep(50)
      child.kill('SIGTERM')
      expect(await call.message()).toEqual({ type: 'signal', signal: 'SIGTERM' })
      call.exit(0)
      expect((await end).code).toBe(0)
    })

    it('should hear them while its output is stuck', async () => {
      const child = start(gh)
      const { call } = await begun(child)
      child.stdout?.pause()
      void call.send(CHANNEL.stdout, Buffer.alloc(MAX_FRAME_BYTES))
      void call.send(CHANNEL.stdout, Buffer.alloc(MAX_FRAME_BYTES))
      await sleep(200)
      child.kill('SIGTERM')
      expect(await call.message()).toEqual({ type: 'signal', signal: 'SIGTERM' })
      child.kill('SIGKILL')
      await call.closed
    })
  })

  describe('without a daemon', () => {
    const refused = 'loopat-host: this loop may not run '

    it.each([
      [[], {}, `"gh" on the host. Its owner can allow it: loopctl host grant LOOP 'gh'`],
      [
        ['pr', 'view', '12'],
        { LOOPAT_LOOP_NAME: 'fix' },
        `"gh" on the host. Its owner can allow it: loopctl host grant fix 'gh pr view 12'`,
      ],
      [
        ['a b', '*', "it's", ''],
        { LOOPAT_LOOP_ID: 'x1' },
        `loopctl host grant x1 'gh '\\''a b'\\'' '\\''*'\\'' '\\''it'\\''\\'\\'''\\''s'\\'' '\\'''\\'''`,
      ],
      [['über', 'x\ty'], {}, `grant LOOP 'gh *'`],
      [['über', '\u202e'], {}, `grant LOOP 'gh *'`],
      [['über'], {}, `grant LOOP 'gh '\\''über'\\'''`],
      [['x'.repeat(2000)], {}, `grant LOOP 'gh *'`],
    ])('should say how it could be granted, %#', async (args, env, text) => {
      const { code, stderr } = await run(gh, args, env)
      expect(code).toBe(126)
      expect(stderr.startsWith(refused)).toBe(true)
      expect(stderr.endsWith(`${text}\n`), stderr).toBe(true)
    })

    it('should give a terminal nothing to obey', async () => {
      const { stderr } = await run(program, ['\x1b[2Jgh\u009b', 'x'])
      expect(stderr).toBe(
        `${refused}"\\x1b[2Jgh\\xc2\\x9b" on the host. Its owner can allow it: loopctl host grant LOOP 'NAME *'\n`,
      )
    })

    it('should explain itself', async () => {
      const help = await run(program, ['--help'])
      expect(help).toMatchObject({ code: 0, stderr: '', stdout: expect.any(Buffer) })
      expect(help.stdout.toString()).toMatch(/^Usage: loopat-host /)
      expect(await run(program, [])).toMatchObject({ code: 125, stderr: expect.stringContaining('say which command') })
      expect(await run(program, ['--'])).toMatchObject({ code: 125 })
      expect(await run(program, ['--tty', 'gh'])).toMatchObject({
        code: 125,
        stderr: expect.stringContaining('"--tty"'),
      })
    })

    it('should wait for one that is being started, and say so', async () => {
      await leaveSocket()
      const child = start(gh, ['x'])
      const said = once(child.stderr ?? child, 'data')
      const end = outcome(child)
      expect(String((await said)[0])).toBe('loopat-host: waiting for the daemon, which does not answer\n')
      await gateway.listen()
      const call = await gateway.call()
      call.exit(9)
      expect((await end).code).toBe(9)
    })

    it('should give up after a while', { timeout: 60_000 }, async () => {
      await leaveSocket()
      const before = performance.now()
      const { code, stderr } = await run(gh)
      expect(performance.now() - before).toBeGreaterThan(10_000)
      expect(code).toBe(125)
      expect(stderr).toMatch(/^[^\n]*waiting[^\n]*\n[^\n]*the daemon does not answer; [^\n]*\n$/)
    })

    it('should say why it cannot reach one', async () => {
      const deep = join(gateway.directory, 'd'.repeat(100))
      await mkdir(deep)
      await copyFile(program, join(deep, 'loopat-host'))
      const { code, stderr } = await run(join(deep, 'loopat-host'), ['gh'])
      expect({ code, stderr }).toEqual({ code: 125, stderr: 'loopat-host: the path of its socket is too long\n' })
    })

    it('should say what it needs where there is no perl', async () => {
      const text = await readFile(program, 'utf8')
      await writeFile(program, text.replaceAll('/usr/bin/perl', '/nowhere/perl'))
      // A command of the host that has this name is no perl.
      await symlink('../loopat-host', join(gateway.directory, 'bin/perl'))
      for (const shell of SHELLS) {
        const run = promisify(execFile)(shell[0] ?? '', [...shell.slice(1), gh], {
          env: { PATH: join(gateway.directory, 'bin') },
        })
        expect(await run.catch((error: unknown) => error)).toMatchObject({
          code: 125,
          stdout: '',
          stderr:
            'loopat-host: this image has no perl, which loopat-host needs: install perl, or use an image that has it\n',
        })
      }
    })

    it('should find a perl in other places, in every shell', async () => {
      const text = await readFile(program, 'utf8')
      await writeFile(program, text.replaceAll('/usr/bin/perl', '/nowhere/perl'))
      await gateway.listen()
      for (const shell of SHELLS) {
        const { call, end } = await begun(start(shell[0] ?? '', [...shell.slice(1), gh, 'a b', '']))
        call.exit(0)
        expect((await end).stderr).toBe('')
        expect(call.request.argv.map(String)).toEqual(['gh', 'a b', ''])
      }
    })
  })

  describe('losing the daemon', () => {
    beforeEach(() => gateway.listen())

    it('should say whether the command had begun', async () => {
      const early = run(gh)
      ;(await gateway.call()).end()
      expect(await early).toMatchObject({ code: 125, stderr: 'loopat-host: the daemon went away before "gh" began\n' })
      const { call, end } = await begun(start(gh))
      await call.send(CHANNEL.stdout, 'half')
      call.end()
      const lost = {
        code: 125,
        stdout: Buffer.from('half'),
        stderr: 'loopat-host: the daemon went away while "gh" ran\n',
      }
      expect(await end).toMatchObject(lost)
    })

    it('should still read what it said before, when it takes nothing more', async () => {
      const child = spawn(gh, [], { env: ENV })
      child.stdin.on('error', () => undefined)
      child.stdin.end(Buffer.alloc(500_000))
      const { call, end } = await begun(child)
      await call.send(CHANNEL.stderr, 'enough\n')
      call.exit(124)
      expect(await end).toMatchObject({ code: 124, stderr: 'enough\n' })
    })

    const control = (text: string) => encodeFrame(CHANNEL.control, Buffer.from(text))
    it.each([
      ['an unknown channel', Buffer.from([4, 0, 0, 0, 1, 0])],
      ['input', encodeFrame(CHANNEL.stdin, Buffer.from('x'))],
      ['a frame that is too large', frameHeader(CHANNEL.stdout, MAX_FRAME_BYTES + 1)],
      ['an empty message', frameHeader(CHANNEL.control, 0)],
      ['no JSON', control('hello')],
      ['an exit without a code', control('{"type":"exit"}')],
      ['an exit with a large code', control('{"type":"exit","code":256}')],
      ['an exit with a negative code', control('{"type":"exit","code":-1}')],
      ['more room than there can be', control('{"type":"ack","bytes":1}')],
      ['HTTP', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ])('should not understand %s', async (_what, bytes) => {
      const { call, end } = await begun(start(gh))
      void call.write(bytes)
      const { code, stderr } = await end
      expect(code).toBe(125)
      expect(stderr).toMatch(/^loopat-host: the daemon and this loopat-host do not understand each other \([^\n]+\)\n$/)
      await call.closed
    })
  })

  describe('on a terminal', () => {
    beforeEach(() => gateway.listen())

    const raw = /^-icanon$/m
    /** Shows the settings of the terminal, runs the forwarder, and shows its code and the settings again. */
    const script = () => `stty -g; sh -c 'echo "pid $$"; exec "$0" x' '${gh}'; echo "code $?"; stty -g`

    async function terminal(): Promise<{ terminal: TestTerminal; settings: string; pid: number }> {
      const made = new TestTerminal(script(), ENV)
      const [, settings = ''] = await made.expect(/([0-9a-f:]+)\r\n/)
      const [, pid] = await made.expect(/pid (\d+)\r\n/)
      return { terminal: made, settings, pid: Number(pid) }
    }

    async function ended({ terminal, settings }: { terminal: TestTerminal; settings: string }): Promise<string> {
      const [, code = ''] = await terminal.expect(/code (\d+)\r\n/)
      const [, after] = await terminal.expect(/([0-9a-f:]+)\r\n/)
      expect(after).toBe(settings)
      await terminal.exited
      return code
    }

    it('should pass on every byte once the command runs, and not before, and leave it as it was', async () => {
      const made = await terminal()
      const call = await gateway.call()
      expect(call.request).toMatchObject({ size: '80x24', variables: ['TERM=xterm'] })
      made.terminal.type('early')
      await made.terminal.expect(/early/)
      call.started()
      expect(String(await next(call))).toBe('early')
      made.terminal.type('\x03\x1a\x04\x11\x13\r\x7fx')
      await until(() => call.bytesIn === 13)
      expect(await next(call)).toEqual(Buffer.from('\x03\x1a\x04\x11\x13\r\x7fx'))
      await call.send(CHANNEL.stdout, 'one\ntwo\r\n')
      await made.terminal.expect(/^one\ntwo\r\n$/)
      call.exit(5)
      expect(await ended(made)).toBe('5')
    })

    it('should tell of its size when that changes', async () => {
      const made = await terminal()
      const call = await gateway.call()
      made.terminal.resize(100, 30)
      await sleep(50)
      call.started()
      expect(await call.message()).toEqual({ type: 'resize', cols: 100, rows: 30 })
      made.terminal.resize(120, 50)
      expect(await call.message()).toEqual({ type: 'resize', cols: 120, rows: 50 })
      call.exit(0)
      expect(await ended(made)).toBe('0')
    })

    it.each([
      ['is lost', (call: StubCall) => call.end(), '125'],
      ['talks nonsense', (call: StubCall) => call.control('x'), '125'],
    ])('should leave it as it was when the daemon %s', async (_what, act, code) => {
      const made = await terminal()
      const call = await gateway.call()
      call.started()
      await isRaw(made.pid)
      act(call)
      expect(await ended(made)).toBe(code)
    })

    it.each([
      ['SIGTERM', '143'],
      ['SIGHUP', '129'],
    ] as const)('should leave it as it was when %s has ended the command', async (signal, code) => {
      const made = await terminal()
      const call = await gateway.call()
      call.started()
      await isRaw(made.pid)
      process.kill(made.pid, signal)
      expect(await call.message()).toEqual({ type: 'signal', signal })
      call.exit(Number(code))
      expect(await ended(made)).toBe(code)
    })

    it('should leave it as it was when a signal ends the forwarder alone', async () => {
      const made = await terminal()
      const call = await gateway.call()
      call.started()
      await isRaw(made.pid)
      process.kill(made.pid, 'SIGALRM')
      expect(await ended(made)).toBe('142')
    })

    it('should make it raw again when it goes on after a stop', async () => {
      const made = await terminal()
      const call = await gateway.call()
      call.started()
      await isRaw(made.pid)
      await promisify(execFile)('stty', ['-F', `/proc/${made.pid}/fd/0`, 'sane'])
      process.kill(made.pid, 'SIGCONT')
      await isRaw(made.pid)
      call.exit(0)
      await made.terminal.expect(/code 0/)
    })

    it('should be no terminal when only one end is', async () => {
      const made = new TestTerminal(`trap : INT; '${gh}' x >/dev/null; echo "code $?"`, ENV)
      const call = await gateway.call()
      expect(call.request.size).toBe('')
      call.started()
      made.type('a line\r')
      expect(String(await next(call))).toBe('a line\n')
      made.type('\x03')
      expect(await call.message()).toEqual({ type: 'signal', signal: 'SIGINT' })
      call.exit(6)
      await made.expect(/code 6/)
    })

    /** Waits until the terminal of a process is in raw mode. */
    async function isRaw(pid: number): Promise<void> {
      await until(async () => {
        const { stdout } = await promisify(execFile)('stty', ['-F', `/proc/${pid}/fd/0`, '-a'])
        return raw.test(stdout.replaceAll(/[ ;]+/g, '\n'))
      })
    }
  })
})

/** Leaves a socket that nobody listens at. */
async function leaveSocket(): Promise<void> {
  const bind = 'socket my $s, 1, 1, 0 or die; bind $s, pack "Sa*x", 1, $ARGV[0] or die $!'
  await promisify(execFile)('perl', ['-e', bind, gateway.path])
}

/** The next input that comes. */
async function next({ stdin }: StubCall): Promise<Buffer> {
  if (stdin.readableLength === 0) await once(stdin, 'readable')
  const chunk: unknown = stdin.read()
  if (!Buffer.isBuffer(chunk)) throw new Error('its input has ended')
  return chunk
}
