import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type FileHandle, mkdir, open, readFile, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { writeFileAtomic } from '../../lib/atomic-file.ts'
import { EngineError } from '../engine.ts'
import { findByArgument, findProgram, hasUserManager, run, seesUnifiedCgroups, startTimeOf } from './host.ts'
import { CONTAINERS_CONF, type CommandLine, serviceAddress, serviceCommand, serviceEnv, unitCommand } from './launch.ts'
import { ping } from './ping.ts'

/** How long the service may take until it answers, in milliseconds: the very first start sets the store up. */
const START_MS = 30_000

/** How long one answer may take, in milliseconds. */
const PING_MS = 5000

/** How long the service may take to end when asked, in milliseconds. */
const END_MS = 3000

/** Longest part of the log that goes into an error's message, in bytes. */
const LOG_TAIL_BYTES = 2000

/** Options of {@link OwnService}. */
export interface OwnServiceOptions {
  /** Runtime directory of the workspace: socket, pid file and configuration go there. */
  readonly runtimeDir: string
  /** Directory of the log file. */
  readonly logDir: string
  /** Environment of the daemon; only some variables are passed on. */
  readonly env: NodeJS.ProcessEnv
  /** How it is started; default: a transient unit where the user's systemd answers, else a detached process. */
  readonly launcher?: 'systemd' | 'detached'
}

/** What is written down about a running service. */
const recordSchema = z.object({
  pid: z.number().int().positive(),
  startTime: z.string(),
  /** The transient unit, when it is one. */
  unit: z.string().optional(),
})

type ServiceRecord = z.infer<typeof recordSchema>

/**
 * A podman service of our own, for hosts where nobody else runs one. It outlives the daemon: the next one adopts it by
 * its pid, start time and socket. Ending it never ends containers.
 */
export class OwnService {
  readonly socketPath: string
  readonly logPath: string
  readonly #pidPath: string
  readonly #confPath: string
  readonly #options: OwnServiceOptions

  constructor(options: OwnServiceOptions) {
    this.#options = options
    this.socketPath = join(options.runtimeDir, 'podman.sock')
    this.logPath = join(options.logDir, 'podman.log')
    this.#pidPath = join(options.runtimeDir, 'podman.pid')
    this.#confPath = join(options.runtimeDir, 'containers.conf')
  }

  /**
   * Makes sure that it runs and answers: adopts a running one, replaces a hanging one, else starts it.
   * @returns its version
   * @throws EngineError `unavailable` with the reason and what to do; the reason of the signal
   */
  async ensure(signal?: AbortSignal): Promise<string> {
    const running = await ping(this.socketPath, PING_MS, signal)
    if (running.kind === 'podman') return running.version
    await this.end()
    return await this.#start(signal)
  }

  /** Ends it, if it runs. Containers go on. */
  async end(): Promise<void> {
    const record = await this.#readRecord()
    if (record !== undefined && (await isRunning(record))) {
      // It leads its process group; what containers need has left that group.
      await endAll(
        () => [-record.pid],
        () => isRunning(record),
      )
    }
    // The server itself may outlive the first process, which only waits for it.
    await endAll(
      () => this.#servers(),
      async () => (await this.#servers()).length > 0,
    )
    if (record?.unit !== undefined) await run('systemctl', ['--user', 'stop', record.unit], this.#options.env)
    await rm(this.#pidPath, { force: true })
    await rm(this.socketPath, { force: true })
  }

  /** Host pid of the service's first process, undefined when none is known to run. */
  async pid(): Promise<number | undefined> {
    const record = await this.#readRecord()
    return record !== undefined && (await isRunning(record)) ? record.pid : (await this.#servers())[0]
  }

  /** Processes that serve on our socket, whoever started them. */
  #servers(): Promise<number[]> {
    return findByArgument(serviceAddress(this.socketPath))
  }

  async #start(signal: AbortSignal | undefined): Promise<string> {
    const { env, runtimeDir, logDir } = this.#options
    if (process.getuid?.() === 0) {
      throw new EngineError('unavailable', 'podman is not started as root: run loopatd as an unprivileged user')
    }
    const podman = await findProgram('podman', env)
    if (podman === undefined) {
      throw new EngineError('unavailable', 'the program podman is not installed: apt-get install podman uidmap')
    }
    await mkdir(runtimeDir, { recursive: true, mode: 0o700 })
    await mkdir(logDir, { recursive: true, mode: 0o700 })
    await writeFileAtomic(this.#confPath, CONTAINERS_CONF)
    const command = serviceCommand(podman, this.socketPath, await seesUnifiedCgroups(env))
    const launcher = this.#options.launcher ?? ((await hasUserManager(env)) ? 'systemd' : 'detached')
    const record = launcher === 'systemd' ? await this.#startUnit(command) : await this.#startDetached(command)
    await writeFileAtomic(this.#pidPath, `${JSON.stringify(record)}\n`)
    return await this.#waitUntilItAnswers(record, signal)
  }

  async #startDetached({ program, args }: CommandLine): Promise<ServiceRecord> {
    const log = await this.#openLog()
    try {
      const child = spawn(program, [...args], {
        cwd: '/',
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
        env: serviceEnv(this.#options.env, this.#confPath),
      })
      await once(child, 'spawn')
      child.unref()
      return await toRecord(child.pid)
    } catch (error) {
      if (error instanceof EngineError) throw error
      throw new EngineError('unavailable', `podman could not be started (${program})`, { cause: error })
    } finally {
      await log.close()
    }
  }

  async #openLog(): Promise<FileHandle> {
    try {
      return await open(this.logPath, 'a', 0o600)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error)) throw error
      const why = `podman is not started: its log ${this.logPath} cannot be written (${error.code})`
      throw new EngineError('unavailable', why, { cause: error })
    }
  }

  async #startUnit(command: CommandLine): Promise<ServiceRecord> {
    const { runtimeDir } = this.#options
    const env = serviceEnv(this.#options.env, this.#confPath)
    // A unit of which a process is left cannot be made again: each gets a name of its own.
    const unit = `loopat-podman-${basename(runtimeDir)}-${randomBytes(3).toString('hex')}.service`
    const options = { unit, logPath: this.logPath, variables: Object.keys(env) }
    const { program, args } = unitCommand(command, options)
    const { failure } = await run(program, args, env)
    if (failure !== undefined) throw new EngineError('unavailable', `systemd does not start podman: ${failure}`)
    const { output } = await run('systemctl', ['--user', 'show', '--property=MainPID', '--value', unit], env)
    return { ...(await toRecord(Number.parseInt(output, 10))), unit }
  }

  async #waitUntilItAnswers(record: ServiceRecord, signal: AbortSignal | undefined): Promise<string> {
    const deadline = performance.now() + START_MS
    for (;;) {
      const result = await ping(this.socketPath, PING_MS, signal)
      if (result.kind === 'podman') return result.version
      if (!(await isRunning(record))) {
        throw new EngineError('unavailable', `podman ended at once: ${await this.#readLogTail()}`)
      }
      if (performance.now() > deadline) {
        throw new EngineError('unavailable', `podman was started but does not answer (${result.reason})`)
      }
      await sleep(30)
    }
  }

  async #readLogTail(): Promise<string> {
    const log = await readFile(this.logPath)
    const tail = log
      .subarray(Math.max(0, log.length - LOG_TAIL_BYTES))
      .toString()
      .trim()
    return tail || `see ${dirname(this.logPath)}`
  }

  async #readRecord(): Promise<ServiceRecord | undefined> {
    try {
      const parsed = recordSchema.safeParse(JSON.parse(await readFile(this.#pidPath, 'utf8')))
      return parsed.success ? parsed.data : undefined
    } catch (error) {
      // Not there, or cut off by a crash: then nothing is known.
      if (error instanceof SyntaxError || (error instanceof Error && 'code' in error && error.code === 'ENOENT')) {
        return undefined
      }
      throw error
    }
  }
}

async function toRecord(pid: number | undefined): Promise<ServiceRecord> {
  const startTime = pid === undefined || Number.isNaN(pid) || pid <= 0 ? undefined : await startTimeOf(pid)
  if (pid === undefined || startTime === undefined) throw new EngineError('unavailable', 'podman ended at once')
  return { pid, startTime }
}

async function isRunning({ pid, startTime }: ServiceRecord): Promise<boolean> {
  return (await startTimeOf(pid)) === startTime
}

/**
 * Asks processes to end, then ends them.
 * @param targets pids, or negated process groups
 * @param isLeft reports whether any is left
 */
async function endAll(targets: () => number[] | Promise<number[]>, isLeft: () => Promise<boolean>): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!(await isLeft())) return
    for (const target of await targets()) kill(target, signal)
    const deadline = performance.now() + END_MS
    while ((await isLeft()) && performance.now() < deadline) await sleep(20)
  }
}

function kill(target: number, signal: NodeJS.Signals): void {
  try {
    process.kill(target, signal)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return
    throw error
  }
}
