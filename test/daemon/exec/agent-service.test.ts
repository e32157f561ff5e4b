import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes, randomInt } from 'node:crypto'
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { EngineExec } from '../../../daemon/engine/engine.ts'
import { AgentService } from '../../../daemon/exec/agent-service.ts'
import { CommandMarks } from '../../../daemon/exec/agent-session.ts'
import type { AgentSpec } from '../../../daemon/exec/agent-text.ts'
import { systemClock } from '../../../daemon/lib/clock.ts'
import { errorCode } from '../../../daemon/lib/error-code.ts'
import { memoryLog } from '../../harness/peer-server.ts'

const PROGRAM = fileURLToPath(new URL('../../../templates/agent', import.meta.url))
const never = new AbortController().signal
/** That of a container of which no process is found: whatever in it was to be killed is gone. */
const containerPid = () => process.pid

/** What is called sh differs from image to image. */
const SHELLS: readonly (readonly string[])[] = [['dash'], ['bash', '--posix']]

describe.each(SHELLS)('AgentService with %s', (...shell) => {
  let control: string
  let service: AgentService
  const agents: ChildProcess[] = []

  const makeService = () =>
    new AgentService({
      clock: systemClock,
      log: memoryLog([]),
      marks: new CommandMarks(),
      program: PROGRAM,
      inside: control,
    })

  function startAgent(): ChildProcess {
    const [program = '', ...args] = shell
    const agent = spawn(program, [...args, join(control, 'agent'), control], { detached: true, stdio: 'ignore' })
    agents.push(agent)
    return agent
  }

  async function exec(spec: Partial<AgentSpec> & { command: readonly string[] }): Promise<EngineExec | undefined> {
    const whole = { env: {}, stdin: false, cwd: '/', ...spec }
    // The agent may still be on its way.
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const found = await service.exec({ containerPid, control }, whole, never)
      if (found !== undefined) return found
      await sleep(20)
    }
    return undefined
  }

  async function run(spec: Partial<AgentSpec> & { command: readonly string[] }, input?: Buffer) {
    const command = await exec({ ...spec, stdin: input !== undefined })
    if (command === undefined) throw new Error('no agent answered')
    if (input !== undefined) command.stdin.end(input)
    const [stdout, stderr, exit] = await Promise.all([command.stdout.toArray(), command.stderr.toArray(), command.exit])
    command.close()
    return { code: exit.exitCode, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() }
  }

  beforeEach(async () => {
    control = await mkdtemp(join(tmpdir(), 'loopat-agent-'))
    service = makeService()
    await service.prepare(control)
    startAgent()
  })

  afterEach(async () => {
    service[Symbol.dispose]()
    for (const { pid } of agents.splice(0)) if (pid !== undefined) kill(-pid)
    killWith(control)
    await rm(control, { recursive: true, force: true, maxRetries: 5 })
  })

  it('should keep outputs apart and pass code, directory and variables on', async () => {
    const script = 'pwd; echo "$A"; echo err >&2; exit 7'
    const result = await run({ command: ['sh', '-c', script], cwd: '/tmp', env: { A: "it's\n$B" } })
    expect({ ...result, stdout: result.stdout.toString() }).toEqual({
      code: 7,
      stdout: "/tmp\nit's\n$B\n",
      stderr: 'err\n',
    })
  })

  it('should find commands of the host after all others', async () => {
    await mkdir(join(control, 'bin'))
    for (const name of ['loopat-only-here', 'true']) {
      await writeFile(join(control, 'bin', name), '#!/bin/sh\necho "host $1"\n', { mode: 0o755 })
    }
    expect(String((await run({ command: ['loopat-only-here', 'x'] })).stdout)).toBe('host x\n')
    expect(String((await run({ command: ['true', 'x'] })).stdout)).toBe('')
    expect(String((await run({ command: ['sh', '-c', 'echo "$PATH"'] })).stdout)).toBe(
      `${process.env.PATH}:${control}/bin\n`,
    )
  })

  it('should pass every byte both ways, and the end of the input', async () => {
    const input = randomBytes(3_000_000)
    const { code, stdout } = await run({ command: ['cat'] }, input)
    expect(code).toBe(0)
    expect(stdout.equals(input)).toBe(true)
  })

  it('should run as the host would, whatever the arguments and the environment are', async () => {
    const script = 'for a do printf "%s\\0" "$a"; done; printf "%s\\0" "$X" "$Y"; cat; exit "$C"'
    for (let round = 0; round < 10; round += 1) {
      const text = () => randomBytes(randomInt(1, 3000)).toString('latin1').replaceAll('\0', '')
      const args = Array.from({ length: randomInt(0, 20) }, text)
      const env = { X: text(), Y: text(), C: String(randomInt(0, 126)) }
      const input = randomBytes(randomInt(0, 200_000))
      const { code, stdout } = await run({ command: ['sh', '-c', script, 'sh', ...args], env }, input)
      const wanted = Buffer.concat([Buffer.from([...args, env.X, env.Y].map((a) => `${a}\0`).join('')), input])
      expect(code).toBe(Number(env.C))
      expect(stdout.equals(wanted)).toBe(true)
    }
  })

  it('should take more arguments than a pipe holds, and refuse too many as the host does', async () => {
    const many = Array.from({ length: 3000 }, () => 'x'.repeat(300))
    const { stdout } = await run({ command: ['sh', '-c', 'echo $#', 'sh', ...many] })
    expect(stdout.toString()).toBe('3000\n')
    const long = await exec({ command: ['echo', 'x'.repeat(200_000)] })
    long?.stdout.resume()
    long?.stderr.resume()
    await expect(long?.exit).rejects.toMatchObject({ kind: 'not_executable' })
  })

  it('should tell missing programs and directories from codes of programs', async () => {
    const failing = async (spec: Partial<AgentSpec> & { command: readonly string[] }) => {
      const command = await exec(spec)
      command?.stdout.resume()
      command?.stderr.resume()
      return await command?.exit
    }
    await expect(failing({ command: ['/no/such'] })).rejects.toMatchObject({ kind: 'command_not_found' })
    await expect(failing({ command: ['no-such'] })).rejects.toMatchObject({ kind: 'command_not_found' })
    await expect(failing({ command: ['/etc/passwd'] })).rejects.toMatchObject({ kind: 'not_executable' })
    await expect(failing({ command: ['true'], cwd: '/no/such' })).rejects.toMatchObject({ kind: 'directory_unusable' })
    expect((await run({ command: ['sh', '-c', 'exit 127'] })).code).toBe(127)
  })

  it('should not run what a shell cannot pass on unchanged', async () => {
    expect((await run({ command: ['true'] })).code).toBe(0)
    for (const env of [{ 'a-b': '1' }, { PPID: '1' }, { A: 'x\0y' }]) {
      expect(await service.exec({ containerPid, control }, { command: ['true'], env, stdin: false }, never)).toBe(
        undefined,
      )
    }
  })

  it('should give commands a session of their own and the usual signals', async () => {
    const { stdout } = await run({ command: ['sh', '-c', 'cat /proc/$$/stat; grep SigIgn /proc/$$/status'] })
    const [stat = '', ignored = ''] = stdout.toString().split('\n')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    expect(fields[2]).toBe(fields[3])
    expect(Number(stat.split(' ')[0])).toBe(Number(fields[3]))
    // Interrupt and quit.
    expect(BigInt(`0x${ignored.split('\t')[1]}`) & 0b110n).toBe(0n)
  })

  it('should run many at once, more than there are slots, each with its own output', async () => {
    const results = await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const command = await exec({ command: ['sh', '-c', `head -c 100000 /dev/zero | tr '\\0' x; exit ${index}`] })
        if (command === undefined) return 'engine'
        const [bytes, , exit] = await Promise.all([command.stdout.toArray(), command.stderr.toArray(), command.exit])
        return `${exit.exitCode} ${createHash('sha1').update(Buffer.concat(bytes)).digest('hex')}`
      }),
    )
    const sum = createHash('sha1').update('x'.repeat(100_000)).digest('hex')
    expect(results).toEqual(Array.from({ length: 60 }, (_, index) => `${index} ${sum}`))
  })

  it('should end with the command although its children go on, and not mix their output into the next one', async () => {
    const stray = '(until [ -e "$0" ]; do sleep 0.05; done; echo stray; sleep 1) & echo first'
    const go = (round: number) => join(control, `go-${round}`)
    for (let round = 0; round < 20; round += 1) {
      expect((await run({ command: ['sh', '-c', stray, go(round)] })).stdout.toString()).toBe('first\n')
      // Each speaks while commands after its own run; those that never do are killed by their path.
      if (round >= 10) await writeFile(go(round - 10), '')
      expect((await run({ command: ['echo', 'next'] })).stdout.toString()).toBe('next\n')
    }
  })

  it('should hold a command up that nobody reads', async () => {
    const command = await exec({ command: ['sh', '-c', 'head -c 5000000 /dev/zero; exit 3'] })
    if (command === undefined) throw new Error('no agent answered')
    await sleep(300)
    expect(command.stdout.readableLength).toBeLessThan(500_000)
    const [bytes, exit] = await Promise.all([command.stdout.toArray(), command.exit, command.stderr.toArray()])
    expect([Buffer.concat(bytes).length, exit.exitCode]).toEqual([5_000_000, 3])
  })

  it('should get ready for a command that is to come', async () => {
    service.expect(control)
    service.expect(control)
    while (!existsSync(join(control, 'room'))) await sleep(10)
    expect((await run({ command: ['echo', 'ready'] })).stdout.toString()).toBe('ready\n')
  })

  it('should be found again by a daemon that comes after one that was killed', async () => {
    const command = await exec({ command: ['sh', '-c', 'sleep 0.3; exit 5'] })
    const [room] = roomsIn(control)
    // What a killed daemon leaves: nobody at the pipes.
    command?.close()
    service[Symbol.dispose]()
    service = makeService()
    expect((await run({ command: ['echo', 'again'] })).stdout.toString()).toBe('again\n')
    // A busy machine may have made it ask for another one.
    expect(roomsIn(control)).toContain(room)
  })

  it('should meet an agent that was started again after it was killed', async () => {
    expect((await run({ command: ['true'] })).code).toBe(0)
    for (const { pid } of agents.splice(0)) if (pid !== undefined) kill(-pid)
    killWith(control)
    startAgent()
    expect((await run({ command: ['echo', 'back'] })).stdout.toString()).toBe('back\n')
  })

  it('should not lose the end of a command to a shell that nobody waits for any more', async () => {
    expect((await run({ command: ['true'] })).code).toBe(0)
    for (const { pid } of agents.splice(0)) if (pid !== undefined) kill(-pid)
    // Those that wait at pipes are not killed.
    killWith(join(control, 'agent'))
    startAgent()
    for (let round = 0; round < 5; round += 1) expect((await run({ command: ['sh', '-c', 'exit 7'] })).code).toBe(7)
  })

  it('should bear nonsense from inside, and then leave the loop to the engine', async () => {
    expect((await run({ command: ['true'] })).code).toBe(0)
    const [room = ''] = roomsIn(control)
    const status = join(control, 'room', room, 'status')
    writeIfRead(status, `x 3 1 0\ns 99 1 1\nr 0 7 1\n${'y'.repeat(10_000)}\nx 0 99999 0\n`)
    expect((await run({ command: ['echo', 'on'] })).stdout.toString()).toBe('on\n')
    // Another room after each, and then no more.
    let last: EngineExec | undefined
    for (let strikes = 0; strikes < 20; strikes += 1) {
      for (const name of readdirSync(join(control, 'room'))) {
        const path = join(control, 'room', name, 'status')
        if (lstatSync(path, { throwIfNoEntry: false })?.isFIFO()) writeIfRead(path, 'nonsense\n'.repeat(200))
      }
      await sleep(100)
      last = await service.exec({ containerPid, control }, { command: ['true'], env: {}, stdin: false }, never)
      if (last === undefined) break
      last.close()
    }
    expect(last).toBe(undefined)
  })

  it('should open nothing but pipes', async () => {
    expect((await run({ command: ['true'] })).code).toBe(0)
    const [room = ''] = roomsIn(control)
    const canary = join(control, 'canary')
    writeFileSync(canary, 'untouched')
    for (let slot = 0; slot < 16; slot += 1) {
      await rm(join(control, 'room', room, String(slot), 'out'))
      await symlink(canary, join(control, 'room', room, String(slot), 'out'))
    }
    // Another room does it.
    expect((await run({ command: ['echo', 'elsewhere'] })).stdout.toString()).toBe('elsewhere\n')
    expect(readFileSync(canary, 'utf8')).toBe('untouched')
  })
})

describe('AgentService with a shell that is held up', () => {
  let control: string
  let service: AgentService
  let container: ChildProcess
  let program: string

  const makeService = () =>
    new AgentService({ clock: systemClock, log: memoryLog([]), marks: new CommandMarks(), program, inside: control })

  beforeEach(async () => {
    control = await mkdtemp(join(tmpdir(), 'loopat-agent-'))
    // As bash does, which reads a pipe to its end before it runs a line of it.
    const wait = 'loopat_text=$(cat "$0"); mkdir "$4/held" 2>/dev/null && sleep 1; eval "$loopat_text"; ['
    program = join(control, 'program')
    await writeFile(
      program,
      readFileSync(PROGRAM, 'utf8').replace('. "$0"; [', () => wait),
    )
    service = makeService()
    await service.prepare(control)
    const words = ['--user', '--map-root-user', '--pid', '--fork', '--kill-child', '--mount-proc', '/bin/sh']
    container = spawn('unshare', [...words, join(control, 'agent'), control], { stdio: 'ignore' })
  })

  afterEach(async () => {
    service[Symbol.dispose]()
    if (container.pid !== undefined) kill(container.pid)
    await rm(control, { recursive: true, force: true, maxRetries: 5 })
  })

  /** Host pid of the container's first process; 0 when there is none. */
  const firstPid = () => Number(readFileSync(`/proc/${container.pid}/task/${container.pid}/children`, 'utf8'))

  it.each([true, false])('should run a command once; the shell can be killed: %j', async (isReachable) => {
    const place = { containerPid: isReachable ? firstPid : () => 0, control }
    const run = async (script: string) => {
      const spec = { command: ['sh', '-c', script, join(control, 'ran')], env: {}, stdin: false, cwd: '/' }
      let command: EngineExec | undefined
      while (command === undefined) command = await service.exec(place, spec, never)
      expect(await command.exit).toMatchObject({ exitCode: 0 })
      command.close()
    }
    await run('echo ran >>"$0"')
    await sleep(1200)
    // The next daemon opens the outputs for which whoever is left over may wait.
    service[Symbol.dispose]()
    service = makeService()
    await run(':')
    await sleep(300)
    expect(readFileSync(join(control, 'ran'), 'utf8')).toBe('ran\n')
  })
})

/** Rooms whose pipes are there: a busy machine may have another one in the making. */
function roomsIn(control: string): string[] {
  return readdirSync(join(control, 'room')).filter((name) => !name.includes('.'))
}

/** Writes into a pipe, unless nobody reads it any more: to open it would then wait for ever. */
function writeIfRead(path: string, text: string): void {
  let pipe: number | undefined
  try {
    pipe = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
    writeSync(pipe, text)
  } catch (error) {
    if (!['ENXIO', 'ENOENT', 'EAGAIN'].includes(errorCode(error) ?? '')) throw error
  } finally {
    if (pipe !== undefined) closeSync(pipe)
  }
}

/** Ends the shells whose command line has a path; each has a session of its own. */
function killWith(path: string): void {
  const found = () => readdirSync('/proc').filter((name) => /^\d+$/.test(name) && commandLine(name).includes(path))
  // One that was just being started is found by the next look.
  for (let pids = found(); pids.length > 0; pids = found()) for (const pid of pids) kill(Number(pid))
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error) return ''
    throw error
  }
}
