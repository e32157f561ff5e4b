import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecControl } from '@loopatd/protocol'
import { execRun } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { CommandMarks } from '../../../daemon/exec/agent-session.ts'
import { CommandRunner } from '../../../daemon/exec/command-runner.ts'
import type { LoopAccess } from '../../../daemon/exec/exec-access.ts'
import { sweepSecrets } from '../../../daemon/exec/exec-env.ts'
import type { ExecIo } from '../../../daemon/exec/exec-io.ts'
import { ExecService } from '../../../daemon/exec/exec-service.ts'
import { systemClock } from '../../../daemon/lib/clock.ts'
import { noProgress } from '../../../daemon/lib/progress.ts'
import { FakeEngine } from '../../fake/engine.ts'
import { processesWith } from '../../harness/workspace.ts'

const never = new AbortController().signal
/** What is known of a command that ended well. */
const ended = { exitCode: 0, timedOut: false, durationMs: expect.any(Number), droppedBytes: 0, linesOmitted: 0 }

class Io implements ExecIo {
  readonly stdin = new PassThrough()
  readonly stdout = new PassThrough()
  readonly stderr = new PassThrough()
  closed = false
  #listener: (message: ExecControl) => void = () => undefined
  onControl(listener: (message: ExecControl) => void): () => void {
    this.#listener = listener
    return () => {
      this.#listener = () => undefined
    }
  }
  send(message: ExecControl): void {
    this.#listener(message)
  }
  async close(): Promise<void> {
    this.closed = true
  }
  async text(): Promise<{ stdout: string; stderr: string }> {
    const read = async (stream: PassThrough) => Buffer.concat(await stream.toArray()).toString()
    return { stdout: await read(this.stdout), stderr: await read(this.stderr) }
  }
}

describe('ExecService', () => {
  let engine: FakeEngine
  let service: ExecService
  let held: number
  let end: (() => void) | undefined
  let id: string
  let control: string
  let secrets: Record<string, string>

  beforeEach(async () => {
    held = 0
    secrets = {}
    control = await mkdtemp(join(tmpdir(), 'loopat-control-'))
    end = undefined
    engine = new FakeEngine({ images: ['localhost/x:1'], networks: ['n'] })
    const spec = {
      name: 'c',
      image: 'localhost/x:1',
      hostname: 'c',
      labels: {},
      command: ['sleep', '1000'],
      workdir: '/',
      env: {},
      mounts: [{ source: control, target: '/loopat/control', readOnly: true }],
      dns: [],
      limits: {},
      keepId: { uid: 2000, gid: 2000 },
      init: true,
      network: { kind: 'none' as const },
      stopTimeoutSeconds: 1,
    }
    id = (await engine.container.create(spec)).id
    await engine.container.start(id)
    const loops: LoopAccess = {
      async use(_ref, options) {
        held += 1
        end = options.end
        const env = { FROM_LOOP: 'yes' }
        const place = { container: id, containerPid: () => 0, workdir: '/', control }
        return { loopId: 'l', ...place, env, secrets, release: () => (held -= 1) }
      },
    }
    service = new ExecService({
      loops,
      runner: new CommandRunner({ engine, clock: systemClock, marks: new CommandMarks() }),
      clock: systemClock,
    })
  })

  afterEach(async () => {
    await engine[Symbol.asyncDispose]()
    await rm(control, { recursive: true, force: true })
  })

  const run = (params: object, io?: Io, signal: AbortSignal = never) =>
    service.run(execRun.params.parse({ loop: 'l', ...params }), io, noProgress, signal)

  /** Runs a command that does not end by itself, until it runs. @returns gives its outcome */
  async function runReady(): Promise<() => Promise<unknown>> {
    const io = new Io()
    const done = run({ command: ['sh', '-c', 'echo ready; exec sleep 1000'] }, io)
    done.catch(() => undefined)
    await once(io.stdout, 'readable')
    return () => done
  }

  it('should collect output apart and pass the exit code and the environment on', async () => {
    const command = ['sh', '-c', 'echo "out $FROM_LOOP $MINE"; echo err >&2; exit 7']
    const result = await run({ command, env: { MINE: 'too' } })
    expect(result).toEqual({ ...ended, exitCode: 7, stdout: 'out yes too\n', stderr: 'err\n' })
    expect(held).toBe(0)
  })

  it('should feed text to stdin and end it', async () => {
    expect(await run({ command: ['cat'], stdin: 'hello' })).toMatchObject({ exitCode: 0, stdout: 'hello' })
  })

  it('should not fail when the command does not read its stdin', async () => {
    expect(await run({ command: ['true'], stdin: 'x'.repeat(1_000_000) })).toMatchObject({ exitCode: 0 })
  })

  it('should keep the beginning of long output and count the rest', async () => {
    const result = await run({
      command: ['sh', '-c', 'head -c 100000 /dev/zero'],
      maxOutputBytes: 10,
      encoding: 'base64',
    })
    expect(result).toMatchObject({ stdout: Buffer.alloc(10).toString('base64'), droppedBytes: 99_990 })
  })

  it('should keep both ends of long text and say what is missing', async () => {
    const result = await run({ command: ['seq', '1000'], maxOutputBytes: 40 })
    expect(result).toMatchObject({ exitCode: 0, droppedBytes: 3858, linesOmitted: 987 })
    expect(result.stdout).toMatch(
      /^1\n2\n3\n4\n5\n6\n7\n8\n9\n\n\[987 lines, 3858 bytes left out; .*\]\n\n997\n998\n999\n1000\n$/,
    )
  })

  it('should truncate streams, too, each by itself', async () => {
    const io = new Io()
    const done = run({ command: ['sh', '-c', 'seq 1000; echo err >&2'], maxOutputBytes: 40 }, io)
    const { stdout, stderr } = await io.text()
    expect(stdout).toMatch(/^1\n.*\n9\n\n\[987 lines, .*\]\n\n997\n.*\n1000\n$/s)
    expect(stderr).toBe('err\n')
    expect(await done).toEqual({ ...ended, stdout: null, stderr: null, droppedBytes: 3858, linesOmitted: 987 })
  })

  it('should run text by a shell', async () => {
    expect(await run({ shell: 'echo a | tr a b; exit 3' })).toMatchObject({ exitCode: 3, stdout: 'b\n' })
    expect(await run({ shell: '-x; echo "$0"' })).toMatchObject({ exitCode: 0, stdout: '/bin/sh\n' })
  })

  it('should refuse a command beside a shell, and neither', async () => {
    for (const params of [{ command: ['true'], shell: 'true' }, {}]) {
      await expect(run(params)).rejects.toMatchObject({ code: 'invalid_params', next: expect.any(String) })
    }
  })

  describe('with a time limit', () => {
    it('should end the command and its children, and keep what they wrote', async () => {
      const sleeping = ['sleep', `1000.${process.pid}`]
      const words = sleeping.join(' ')
      const result = await run({ shell: `echo began; ${words} & ${words}`, timeoutMs: 1500 })
      expect(result).toMatchObject({ exitCode: 137, timedOut: true, stdout: 'began\n', stderr: '' })
      expect(result.durationMs).toBeGreaterThanOrEqual(1500)
      expect(await processesWith(sleeping)).toEqual([])
      expect(held).toBe(0)
    })

    it('should let the command say its last words, and never take its end for success', async () => {
      const script = 'trap "echo bye; exit 0" TERM; echo ready; while :; do sleep 0.05; done'
      const result = await run({ command: ['sh', '-c', script], timeoutMs: 1500 })
      expect(result).toMatchObject({ exitCode: 137, timedOut: true, stdout: 'ready\nbye\n' })
    })

    it('should kill what ignores TERM', async () => {
      const result = await run({ shell: 'trap "" TERM; echo $$; while :; do sleep 0.05; done', timeoutMs: 1500 })
      expect(result).toMatchObject({ exitCode: 137, timedOut: true })
      const pid = Number(result.stdout)
      expect(pid).toBeGreaterThan(1)
      expect(() => process.kill(pid, 0)).toThrow('ESRCH')
    })

    it('should stream what was written, also to a client that reads late', async () => {
      const io = new Io()
      const done = run({ shell: 'seq 100000; sleep 1000', timeoutMs: 1500 }, io)
      await sleep(2500)
      const { stdout } = await io.text()
      expect(stdout.split('\n').slice(0, 3)).toEqual(['1', '2', '3'])
      expect(await done).toMatchObject({ exitCode: 137, timedOut: true, stdout: null })
      expect(io.closed).toBe(true)
    })

    it('should not wait for a process that left the group and holds the output open', async () => {
      const leave = async (io: Io | undefined) => {
        const script = 'setsid sh -c "echo \\$\\$; exec sleep 1000" & sleep 1000'
        const text = io?.stdout.toArray()
        io?.stderr.resume()
        const result = await run({ shell: script, timeoutMs: 1500, maxOutputBytes: 100 }, io)
        const pid = Number(result.stdout ?? Buffer.concat((await text) ?? []))
        expect(result).toMatchObject({ exitCode: 137, timedOut: true })
        // No output is the number 0, which is the group of the tests.
        expect(pid).toBeGreaterThan(1)
        process.kill(pid, 'SIGKILL')
      }
      await Promise.all([leave(undefined), leave(new Io())])
    })

    it('should not concern a command that is faster', async () => {
      expect(await run({ shell: 'echo fine', timeoutMs: 60_000 })).toEqual({ ...ended, stdout: 'fine\n', stderr: '' })
      await expect(run({ command: ['/no/such'], timeoutMs: 60_000 })).rejects.toMatchObject({ code: 'exec_not_found' })
    })

    it('should give way to a cancellation', async () => {
      const cancel = new AbortController()
      const done = run({ command: ['sleep', '1000'], timeoutMs: 60_000 }, undefined, cancel.signal)
      await sleep(100)
      cancel.abort(new Error('cancelled by the test'))
      await expect(done).rejects.toThrow('cancelled by the test')
    })
  })

  it('should stream both ways and close the stream afterwards', async () => {
    const io = new Io()
    const done = run({ command: ['sh', '-c', 'cat; echo err >&2'] }, io)
    io.stdin.end('bytes')
    expect(await io.text()).toEqual({ stdout: 'bytes', stderr: 'err\n' })
    expect(await done).toEqual({ ...ended, stdout: null, stderr: null })
    expect(io.closed).toBe(true)
  })

  it('should go on reading a client whose command has closed its stdin', async () => {
    const io = new Io()
    const done = run({ command: ['sh', '-c', 'exec <&-; echo ready; sleep 0.2; echo done'] }, io)
    await once(io.stdout, 'readable')
    for (let i = 0; i < 50; i += 1) {
      if (!io.stdin.write(Buffer.alloc(65_536))) await once(io.stdin, 'drain')
    }
    io.stdin.end()
    expect((await io.text()).stdout).toBe('ready\ndone\n')
    expect(await done).toMatchObject({ exitCode: 0 })
  })

  it('should forward signals to the command', async () => {
    const io = new Io()
    const done = run({ command: ['sh', '-c', 'trap "exit 9" INT; echo ready; while :; do sleep 0.05; done'] }, io)
    await once(io.stdout, 'readable')
    io.send({ type: 'signal', signal: 'SIGINT' })
    expect(await done).toMatchObject({ exitCode: 9 })
    io.stdout.resume()
  })

  it('should end what an interrupted command leaves behind, and leave alone what others leave', async () => {
    const seconds = `1000.${process.pid}`
    const left = () => processesWith(['sleep', seconds])
    for (const signal of ['SIGINT', undefined] as const) {
      const io = new Io()
      const done = run({ shell: `sleep ${seconds} >/dev/null 2>&1 & echo ready; read line` }, io)
      await once(io.stdout, 'readable')
      // It may say so before what it started has become what is looked for.
      await vi.waitFor(async () => expect(await left()).toHaveLength(1), 5000)
      if (signal === undefined) io.stdin.end()
      else io.send({ type: 'signal', signal })
      io.stdout.resume()
      expect((await done).exitCode).toBe(signal === undefined ? 1 : 130)
      if (signal === undefined) expect(await left()).toHaveLength(1)
      // A signal takes a moment.
      else await vi.waitFor(async () => expect(await left()).toEqual([]), 5000)
      for (const pid of await left()) process.kill(pid, 'SIGKILL')
    }
  })

  it('should kill a command that ignores TERM when its request is cancelled', async () => {
    const io = new Io()
    const cancel = new AbortController()
    const done = run(
      { command: ['sh', '-c', 'trap "" TERM; echo $$; while :; do sleep 0.05; done'] },
      io,
      cancel.signal,
    )
    const [pid] = (await once(io.stdout, 'data')) as [Buffer]
    cancel.abort(new Error('cancelled by the test'))
    await expect(done).rejects.toThrow('cancelled by the test')
    expect(() => process.kill(Number(pid.toString()), 0)).toThrow('ESRCH')
    expect(held).toBe(0)
  })

  it('should end the command when the client closes its stream', async () => {
    const io = new Io()
    const done = run({ command: ['sh', '-c', 'while :; do echo x; sleep 0.01; done'] }, io)
    await once(io.stdout, 'readable')
    io.stdout.destroy()
    await expect(done).rejects.toMatchObject({ code: 'cancelled' })
    expect(io.closed).toBe(true)
  })

  it('should let go of a loop that is about to stop', async () => {
    const done = await runReady()
    end?.()
    await expect(done()).rejects.toMatchObject({ code: 'loop_not_running' })
    expect(held).toBe(0)
  })

  it('should tell a missing program from one that cannot be executed', async () => {
    await expect(run({ command: ['/no/such/program'] })).rejects.toMatchObject({ code: 'exec_not_found' })
    await expect(run({ command: ['/etc/passwd'] })).rejects.toMatchObject({ code: 'exec_not_executable' })
  })

  it('should never make up an exit code when the engine goes away', async () => {
    const done = await runReady()
    engine.disconnect()
    await expect(done()).rejects.toMatchObject({ kind: 'connection_lost' })
  })

  it('should say so when the loop has stopped', async () => {
    await engine.container.stop(id, 0)
    await expect(run({ command: ['true'] })).rejects.toMatchObject({ code: 'loop_not_running' })
  })

  it('should refuse a terminal without a stream, and text beside a stream', async () => {
    await expect(run({ command: ['true'], tty: { cols: 80, rows: 24 } })).rejects.toMatchObject({
      code: 'invalid_params',
    })
    await expect(run({ command: ['true'], stdin: 'x' }, new Io())).rejects.toMatchObject({ code: 'invalid_params' })
  })

  describe('with secrets', () => {
    const left = () => readdir(join(control, 'env'))

    it('should put them into the environment and leave no trace', async () => {
      secrets = { TOKEN: 'it\'s "$HOME" `x` \\ 100%', LINES: 'one\n two\n', EMPTY: '', A_b1: '-e' }
      const script = 'printf "<%s>" "$TOKEN" "$LINES" "$EMPTY" "$A_b1" "$FROM_LOOP" "$0" "$@"'
      const result = await run({ command: ['sh', '-c', script, 'zero', 'a b', ''] })
      expect(result.stdout).toBe(`<it's "$HOME" \`x\` \\ 100%><one\n two\n><><-e><yes><zero><a b><>`)
      expect(await left()).toEqual([])
    })

    it('should let the request override them, and override what is baked in', async () => {
      secrets = { TOKEN: 'vault', FROM_LOOP: 'vault' }
      const command = ['sh', '-c', 'echo "$TOKEN $FROM_LOOP"']
      expect(await run({ command, env: { TOKEN: 'mine' } })).toMatchObject({ stdout: 'mine vault\n' })
      expect(await run({ command, env: { TOKEN: 'mine', FROM_LOOP: 'mine' } })).toMatchObject({ stdout: 'mine mine\n' })
    })

    it('should have removed the file by the time that the command runs', async () => {
      secrets = { TOKEN: 'x' }
      const io = new Io()
      const began = join(control, 'began')
      const done = run({ command: ['sh', '-c', `: >'${began}'; read line; echo "$TOKEN"`] }, io)
      // The pipe is there before the file is, and after.
      const isRead = async () => existsSync(began) && (await left()).length === 1
      while (!(await isRead())) await sleep(5)
      expect(await left()).toEqual([expect.stringMatching(/\.read$/)])
      io.stdin.end('go\n')
      expect(await io.text()).toEqual({ stdout: 'x\n', stderr: '' })
      await done
      expect(await left()).toEqual([])
    })

    it('should become the command: its process group, its arguments, its signals', async () => {
      secrets = { TOKEN: 'x' }
      const script = 'tr "\\0" "\\n" </proc/$$/cmdline; kill -TERM $$'
      const result = await run({ command: ['sh', '-c', script] })
      expect(result).toMatchObject({ stdout: `sh\n-c\n${script}\n`, exitCode: 143 })
    })

    it('should pass binary input and output', async () => {
      secrets = { TOKEN: 'x' }
      const io = new Io()
      const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index % 256))
      const done = run({ command: ['cat'] }, io)
      io.stdin.end(bytes)
      const [stdout] = await Promise.all([io.stdout.toArray(), io.stderr.resume()])
      expect(Buffer.concat(stdout).equals(bytes)).toBe(true)
      await done
    })

    it('should tell a missing program from one that cannot be executed, and from exit codes', async () => {
      secrets = { TOKEN: 'x' }
      await expect(run({ command: ['/no/such/program'] })).rejects.toMatchObject({ code: 'exec_not_found' })
      await expect(run({ command: ['no-such-program'] })).rejects.toMatchObject({ code: 'exec_not_found' })
      await expect(run({ command: ['/etc/passwd'] })).rejects.toMatchObject({ code: 'exec_not_executable' })
      const command = ['sh', '-c', 'echo "/loopat/control/env/: not found" >&2; exit 127']
      const stderr = '/loopat/control/env/: not found\n'
      expect(await run({ command })).toMatchObject({ exitCode: 127, stderr })
      expect(await run({ command: ['sh', '-c', 'printf / >&2; exit 126'] })).toMatchObject({
        exitCode: 126,
        stderr: '/',
      })
      expect(await left()).toEqual([])
    })

    it('should leave nothing when the loop has stopped or the request was cancelled', async () => {
      secrets = { TOKEN: 'x' }
      const cancel = new AbortController()
      const done = run({ command: ['sleep', '1000'] }, undefined, cancel.signal)
      await sleep(100)
      cancel.abort(new Error('cancelled by the test'))
      await expect(done).rejects.toThrow('cancelled by the test')
      await engine.container.stop(id, 0)
      await expect(run({ command: ['true'] })).rejects.toMatchObject({ code: 'loop_not_running' })
      expect(await left()).toEqual([])
    })

    it('should say so when they cannot be written', async () => {
      secrets = { TOKEN: 'x' }
      await rm(control, { recursive: true })
      await writeFile(control, '')
      const error = await run({ command: ['true'] }).catch((caught: unknown) => caught)
      expect(error).toMatchObject({ code: 'storage_failed', message: expect.stringContaining(control) })
      expect(held).toBe(0)
    })

    it('should be removed at the next start when the daemon was killed', async () => {
      await mkdir(join(control, 'loop', 'env'), { recursive: true })
      await writeFile(join(control, 'loop', 'agent'), '')
      await writeFile(join(control, 'loop', 'env', 'x'), 'secret')
      await sweepSecrets(control)
      expect(await readdir(join(control, 'loop'))).toEqual(['agent'])
      await sweepSecrets(join(control, 'missing'))
    })
  })
})
