import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { access, mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connect, type LoopatClient } from '@loopatd/client'
import { OwnService } from '../../daemon/engine/podman/own-service.ts'
import { removeAsRoot } from '../../daemon/engine/podman/unshare.ts'
import { findWorkspace, type Workspace } from '../../protocol/socket.ts'
import { eventually } from './workspace.ts'

const LOOPCTL = fileURLToPath(new URL('../../client/bin/loopctl', import.meta.url))
const LOOPATD = fileURLToPath(new URL('../../daemon/bin/loopatd', import.meta.url))

/** How a program ended, and what it wrote. */
export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A workspace whose daemon a real `systemd --user` runs. */
export class SystemdWorkspace {
  readonly env: Readonly<Record<string, string>>
  readonly workspace: Workspace
  /** Directory of the user's units. */
  readonly units: string
  /** Name of the units, without `.service` and `.socket`. */
  readonly unit: string

  /**
   * @param home other than `~/.loopat`
   * @param env variables that are other than usual
   */
  constructor(bed: string, home?: string, env: Readonly<Record<string, string>> = {}) {
    const { PATH = '' } = process.env
    this.env = {
      PATH,
      HOME: join(bed, 'home'),
      XDG_RUNTIME_DIR: join(bed, 'run'),
      LOOPATD,
      ...(home === undefined ? {} : { LOOPAT_HOME: home }),
      ...env,
    }
    this.workspace = findWorkspace({
      env: this.env,
      uid: process.getuid?.() ?? 0,
      homedir: join(bed, 'home'),
      tmpdir: '/tmp',
    })
    this.units = join(bed, 'home', '.config', 'systemd', 'user')
    this.unit = home === undefined ? 'loopatd' : `loopatd@${this.workspace.name}`
  }

  get service(): string {
    return `${this.unit}.service`
  }

  get socket(): string {
    return `${this.unit}.socket`
  }

  /** Runs loopctl. */
  loopctl(...args: string[]): Promise<Ended> {
    return runProgram(LOOPCTL, args, this.env)
  }

  /** Runs loopctl with variables that are other than usual. */
  loopctlWith(env: Readonly<Record<string, string>>, ...args: string[]): Promise<Ended> {
    return runProgram(LOOPCTL, args, { ...this.env, ...env })
  }

  /** Runs loopctl and expects that it succeeds. @returns stdout without the last line break */
  async ok(...args: string[]): Promise<string> {
    return expectSuccess(`loopctl ${args.join(' ')}`, await this.loopctl(...args))
  }

  /** Runs the daemon in the foreground, until it ends. */
  loopatd(env: Readonly<Record<string, string>> = {}): Promise<Ended> {
    return runProgram(LOOPATD, [], { ...this.env, ...env })
  }

  /** Runs `systemctl --user` and expects that it succeeds. */
  async systemctl(...args: string[]): Promise<string> {
    return expectSuccess(`systemctl ${args.join(' ')}`, await runProgram('systemctl', ['--user', ...args], this.env))
  }

  /** A property of the service, or of other units: the value of each, with an empty line between two. */
  property(name: string, ...units: string[]): Promise<string> {
    return this.systemctl('show', `--property=${name}`, '--value', ...(units.length === 0 ? [this.service] : units))
  }

  /** The podman service that the daemon runs. */
  get podman(): OwnService {
    const { runtimeDir, home } = this.workspace
    return new OwnService({ runtimeDir, logDir: join(home, 'log'), env: this.env })
  }

  /** Takes the daemon and its podman service away. */
  async remove(): Promise<void> {
    await this.ok('daemon', 'uninstall')
    await this.podman.end()
    await removeAsRoot(this.workspace.home, this.env)
    await rm(this.workspace.home, { recursive: true, force: true })
    await rm(this.workspace.runtimeDir, { recursive: true, force: true })
  }

  /** Pid of the daemon as systemd knows it; 0 when none runs. */
  async mainPid(): Promise<number> {
    return Number(await this.property('MainPID'))
  }

  /** Pid of the daemon that answers on the socket. */
  async answeringPid(): Promise<number> {
    const { pid }: { pid: number } = JSON.parse(await this.ok('daemon', 'status', '--json'))
    return pid
  }

  /** Changes settings of the service, until disposal, and restarts it. */
  async withSettings(lines: string): Promise<AsyncDisposable> {
    const settings = await this.settings(lines)
    await this.systemctl('restart', this.service)
    return {
      [Symbol.asyncDispose]: async () => {
        await settings[Symbol.asyncDispose]()
        await this.systemctl('restart', this.service)
      },
    }
  }

  /** Changes settings of the service for its next start, until disposal. */
  async settings(lines: string): Promise<AsyncDisposable> {
    const path = join(this.units, `${this.service}.d`, 'test.conf')
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, `[Service]\n${lines}\n`)
    await this.systemctl('daemon-reload')
    return {
      [Symbol.asyncDispose]: async () => {
        await rm(path)
        if ((await readdir(dirname(path))).length === 0) await rmdir(dirname(path))
        await this.systemctl('daemon-reload')
      },
    }
  }

  /** Stops service and socket. */
  async stop(): Promise<void> {
    await this.systemctl('stop', this.socket, this.service)
  }

  /** Starts socket and service, and expects that the daemon answers. */
  async start(): Promise<void> {
    await this.systemctl('start', this.socket, this.service)
    await this.ok('ls')
  }
}

/**
 * Kills the daemon again and again, each time as soon as the one before answers, and uses it meanwhile: nobody is refused.
 * @throws Error when a client is, or a unit has failed
 */
export async function killAndUse(ws: SystemdWorkspace, kills: number): Promise<void> {
  const before = Number(await ws.property('NRestarts'))
  for (let count = 1; count <= kills; count += 1) {
    const { pid } = await use(ws, (client) => client.daemon.status())
    process.kill(pid, 'SIGKILL')
    // Before it has ended, it may still take a connection.
    await eventually('the daemon has ended', async () => !existsSync(`/proc/${pid}`))
    // The connection is what waits for the next daemon.
    await use(ws, (client) => client.loop.list())
    const units = [ws.service, ws.socket]
    const states = (await ws.property('ActiveState', ...units)).split(/\n+/)
    for (const [index, unit] of units.entries()) {
      const state = states[index]
      if (state !== 'active' && state !== 'activating') throw new Error(`${unit} is ${state} after ${count} kills`)
    }
  }
  const restarts = Number(await ws.property('NRestarts')) - before
  if (restarts !== kills) throw new Error(`the daemon was started again ${restarts} times after ${kills} kills`)
}

/** Uses the daemon from this process: how long it is away is measured, and programs would take longer to start. */
async function use<T>({ workspace }: SystemdWorkspace, work: (client: LoopatClient) => Promise<T>): Promise<T> {
  await using client = await connect({ socket: workspace.socket, handshakeMs: 30_000 })
  return await work(client)
}

/**
 * The directory of a running test bed, see `systemd-bed.sh`.
 * @throws Error when there is none
 */
export async function testBed(): Promise<string> {
  const bed = process.env.LOOPAT_TEST_BED
  if (bed === undefined) throw new Error('LOOPAT_TEST_BED names no test bed: run these tests with `npm test` as root')
  await access(join(bed, 'ready'))
  return bed
}

function expectSuccess(what: string, { code, stdout, stderr }: Ended): string {
  if (code !== 0) throw new Error(`${what} exited with ${code}: ${stderr}`)
  return stdout.replace(/\n$/, '')
}

/** Gives a path to a user id of the user's own user namespace; 0 is the user itself. */
export async function giveAway(path: string, uid: number, env: Readonly<Record<string, string>>): Promise<void> {
  const args = ['unshare', 'chown', '-h', `${uid}:${uid}`, path]
  expectSuccess(`podman ${args.join(' ')}`, await runProgram('podman', args, env))
}

function runProgram(program: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(program, [...args], { env, cwd: '/' }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, stdout, stderr })
    })
  })
}
