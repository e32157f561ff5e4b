import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { CHANNEL, encodeFrame } from '@loopatd/protocol/frame'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { checkHostControl } from '../../../daemon/host/host-control.ts'
import type { HostProcess } from '../../../daemon/host/host-process.ts'
import type { HostCommand } from '../../../daemon/host/host-run.ts'
import { HostSession } from '../../../daemon/host/host-session.ts'
import { sessionLives } from '../../../daemon/host/process-session.ts'
import { startOnTerminal } from '../../../daemon/host/pty-command.ts'
import { RunnerProcess } from '../../../daemon/host/runner-process.ts'
import { type Deferred, deferred } from '../../../daemon/lib/deferred.ts'
import { RawStream } from '../../../daemon/lib/raw-stream.ts'
import { turns } from './kit.ts'

/** More than fits between a runner and a caller that reads nothing. */
const MUCH = 4_000_000

let directory: string
let server: Server
const children: ChildProcess[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'runner-session-'))
  server = createServer({ pauseOnConnect: true })
  server.listen(join(directory, 'host.sock'))
  await once(server, 'listening')
})
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  server.close()
  await rm(directory, { recursive: true, force: true })
})

/** A caller that reads nothing, and its connection as the runner has it. */
async function connected(): Promise<{ caller: Socket; socket: Socket }> {
  const accepted = once(server, 'connection')
  const caller = connect(join(directory, 'host.sock')).on('error', () => undefined)
  const [socket] = await accepted
  return { caller, socket }
}

function commandOf(script: string, given: Partial<HostCommand> = {}): HostCommand {
  return {
    path: '/bin/sh',
    argv: ['sh', '-c', script].map((word) => Buffer.from(word)),
    directory: { from: directory, names: [] },
    env: { PATH: '/usr/bin:/bin', LOOPAT_HOST: `loop:${directory}` },
    size: undefined,
    maxMs: 60_000,
    maxOutputBytes: 1e12,
    ...given,
  }
}

/** A group that is none of a command's. */
async function stranger(script = 'exec sleep 60'): Promise<ChildProcess & { readonly pid: number }> {
  const child = spawn('/bin/sh', ['-c', script], { detached: true, stdio: 'ignore', env: { PATH: '/usr/bin:/bin' } })
  children.push(child)
  await once(child, 'spawn')
  const { pid = 0 } = child
  return Object.assign(child, { pid })
}

interface Running {
  readonly session: HostSession
  readonly caller: Socket
  readonly stdout: PassThrough
  readonly exited: Deferred<number>
  /** What was told of its first process. */
  readonly began: (number | undefined)[]
}

/** A session whose command is that process, as far as it can tell. */
async function running(pid: number, given: Partial<HostCommand> = {}, started = Promise.resolve()): Promise<Running> {
  const { caller, socket } = await connected()
  const [stdin, stdout, exited] = [new PassThrough(), new PassThrough(), deferred<number>()]
  const process: HostProcess = {
    ...{ pid, stdin, stdout, stderr: undefined },
    ...{ exited: exited.promise, resize: () => undefined },
  }
  const began: (number | undefined)[] = []
  const session = new HostSession({
    stream: new RawStream(socket, Buffer.alloc(0), checkHostControl),
    command: commandOf('', given),
    start: async () => {
      await started
      return process
    },
    onBegan: (its) => began.push(its),
  })
  return { session, caller, stdout, exited, began }
}

describe('a session of a host command', () => {
  it('should end when its caller goes away while the command starts', async () => {
    const child = await stranger('exec yes')
    void once(child, 'exit').then(() => exited.resolve(143))
    const start = deferred<void>()
    const { session, caller, stdout, exited } = await running(child.pid, {}, start.promise)
    stdout.write(Buffer.alloc(MUCH))
    await turns()
    caller.destroy()
    await sleep(100)
    start.resolve()
    expect(await session.ended).toMatchObject({ code: 143, reason: 'caller' })
  })

  it.each([
    ['its time is over', () => undefined],
    ['the daemon ends it', (session: HostSession) => session.end()],
    ['its runner ends', (session: HostSession) => void session.kill()],
  ])('should leave alone who has the number of its command by now when %s', async (_when, end) => {
    const other = await stranger()
    const { session, caller, stdout, exited, began } = await running(other.pid, { maxMs: 1500 })
    stdout.write(Buffer.alloc(MUCH))
    await vi.waitFor(() => expect(began).toEqual([other.pid]))
    exited.resolve(0)
    await vi.waitFor(() => expect(began).toEqual([other.pid, undefined]))
    end(session)
    await sleep(1700)
    caller.destroy()
    expect(await session.ended).toMatchObject({ reason: expect.stringMatching(/^(time|stopped)$/) })
    expect([other.exitCode, other.signalCode]).toEqual([null, null])
  })

  it('should end what an interrupted command left in its session, though that bears no mark', async () => {
    const command = spawn('/bin/sh', ['-c', '(trap "" INT; exec env -i /bin/sleep 60) & echo ready; exec sleep 60'], {
      ...{ detached: true, stdio: ['ignore', 'pipe', 'ignore'], env: { PATH: '/usr/bin:/bin' } },
    })
    children.push(command)
    const { pid = 0, stdout } = command
    if (stdout === null) throw new Error('no output')
    await once(stdout, 'data')
    const { session, caller, stdout: output, exited } = await running(pid)
    void once(command, 'exit').then(() => exited.resolve(130))
    caller.resume()
    caller.write(encodeFrame(CHANNEL.control, Buffer.from('{"type":"signal","signal":"SIGINT"}')))
    await exited.promise
    output.end()
    await session.ended
    expect(await sessionLives(pid)).toBe(false)
  })
})

describe('a runner that is gone', () => {
  /** Says what a runner says, and goes. */
  const RUNNER = `
    process.on('message', ({ id }) => {
      for (const pid of JSON.parse(process.env.PIDS)) process.send({ type: 'began', id, pid: pid ?? undefined })
      process.send({ type: 'began', id: -1, pid: undefined }, () => process.exit())
    })`

  it.each([
    ['take a command that runs with it', [], 'SIGKILL'],
    ['leave alone who has the number of its command by now', [null], null],
  ] as const)('should %s', async (_what, behind, signal) => {
    const main = join(directory, 'runner.mjs')
    await writeFile(main, RUNNER)
    const other = await stranger()
    const { socket } = await connected()
    const env = { PIDS: JSON.stringify([other.pid, ...behind]) }
    const runner = new RunnerProcess({ main: pathToFileURL(main), env, onTerminal: false })
    const began: string[] = []
    const { ended } = runner.run(socket, Buffer.alloc(0), commandOf(''), () => began.push('began'))
    expect(await ended).toMatchObject({ reason: 'lost' })
    await runner.gone
    // Whoever is killed may end later; who is spared is so for a while.
    if (signal === null) await sleep(50)
    else if (other.signalCode === null) await once(other, 'exit')
    expect([began, other.signalCode]).toEqual([['began'], signal])
  })
})

describe('the output of a terminal', () => {
  it('should be there to its end, though who is left there writes on', async () => {
    const script = 'trap "" HUP; (sleep 2; seq 1000) & echo first'
    const command = startOnTerminal(commandOf(script, { size: { cols: 80, rows: 24 } }), directory)
    const failed = vi.fn()
    command.stdout.on('error', failed)
    // As long as nobody reads, its end waits behind what it has.
    command.stdout.read(0)
    expect(await command.exited).toBe(0)
    await sleep(3000)
    expect(failed).not.toHaveBeenCalled()
    const pieces: Buffer[] = []
    for await (const piece of command.stdout) pieces.push(piece)
    expect(Buffer.concat(pieces).toString()).toBe('first\r\n')
  })
})
