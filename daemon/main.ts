/**
 * The composition root: the only place that reads arguments and environment, builds objects, handles signals. It
 * disposes of what it built in reverse order, within a deadline. Loops outlive it.
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { availableParallelism, homedir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { EXIT, findWorkspace, isLoopatError, LoopatError, VERSION, type Workspace } from '@loopatd/protocol'
import { type Config, parseIdleMs, readConfig } from './config.ts'
import { DaemonService } from './daemon-service.ts'
import { DoctorService } from './doctor/doctor-service.ts'
import { hostProbe } from './doctor/host-probe.ts'
import { isEngineError } from './engine/engine.ts'
import { type Candidate, candidateSockets } from './engine/podman/locate.ts'
import { createPodmanEngine } from './engine/podman/podman-engine.ts'
import { PodmanService } from './engine/podman/service.ts'
import { removeAsRoot } from './engine/podman/unshare.ts'
import { EngineReport } from './engine-report.ts'
import { AgentService } from './exec/agent-service.ts'
import { CommandMarks } from './exec/agent-session.ts'
import { CommandRunner } from './exec/command-runner.ts'
import { CONTROL_INSIDE, sweepSecrets } from './exec/exec-env.ts'
import { ExecService } from './exec/exec-service.ts'
import { JobService } from './exec/job-service.ts'
import { GitService } from './git/git-service.ts'
import { placeControlFiles } from './host/control-files.ts'
import { readDeclaredNames } from './host/declared-names.ts'
import { HostService } from './host/host-service.ts'
import { RunnerPool } from './host/runner-pool.ts'
import { IdleFiles } from './idle/idle-file.ts'
import { IdleService } from './idle/idle-service.ts'
import { LeaseRegister } from './idle/lease.ts'
import { ImageService } from './image/image-service.ts'
import { removeTemporaries } from './lib/atomic-file.ts'
import { systemClock } from './lib/clock.ts'
import { Lifetime } from './lib/lifetime.ts'
import { endMarked, markOfHome } from './lib/marked-process.ts'
import { takeLocks } from './lock.ts'
import { type Logger, logLevel, openLog } from './log.ts'
import { workdirInside } from './loop/inside.ts'
import { LoopService } from './loop/loop-service.ts'
import { LoopStore } from './loop/loop-store.ts'
import { userIdOf } from './loop/loop-user.ts'
import { type LoopMounts, operatorFaults } from './loop/mount-fact.ts'
import { MountGuard, protectedPlaces } from './loop/mount-guard.ts'
import { GatedAdmission } from './loop/start-admission.ts'
import { checkHome, findTemplates, lockPaths, type Paths, pathsOf, prepareHome } from './paths.ts'
import { EventHub } from './server/event-hub.ts'
import { callSelf } from './server/self-call.ts'
import { createServer } from './server/server.ts'
import { checkRuntimeDir, prepareRuntimeDir } from './server/socket.ts'
import { type Handover, holdFailure, ServiceManager, takeHandover } from './service-manager.ts'
import { VaultService } from './vault/vault-service.ts'
import { VaultStore } from './vault/vault-store.ts'

/** Milliseconds until a shutdown that hangs is given up, on top of the drain deadline. */
const SHUTDOWN_MS = 15_000
/** Milliseconds that clients wait at most until podman is found; it is looked for further afterwards. */
const ENGINE_MS = 8_000
/** Seconds between TERM and KILL when `daemon.stop_loops` stops all loops. */
const STOP_GRACE_SECONDS = 5

const HELP = `Usage: loopatd [--check] [--version] [--help]

The per-user daemon that owns loops. It serves the workspace of LOOPAT_HOME (default ~/.loopat) in the foreground and
logs to <home>/log/loopatd.log; \`loopctl daemon start\` runs it in the background.
With --check it only says what would keep it from starting, a wrong configuration above all, and exits.

Environment:
  LOOPAT_HOME           home of the workspace
  LOOPAT_LOG_LEVEL      trace, debug, info (default), warn, error, fatal, silent
  LOOPAT_PODMAN_SOCKET  podman API socket to use
  LOOPAT_CONTAINER_IDLE_MS  milliseconds without use after which loops sleep
`

/** What all rooms share. */
interface Ground {
  readonly workspace: Workspace
  readonly paths: Paths
  readonly config: Config
  readonly log: Logger
  readonly lifetime: Lifetime
  /** What the service manager gave, if there is one. */
  readonly handover: Handover
  /** Whether the home did not exist before this start. */
  readonly homeIsNew: boolean
}

function runtimeCheck(): void {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return
  throw new LoopatError('config_invalid', `loopatd needs Node.js 20.19 or newer, this is ${process.versions.node}`, {
    next: 'Install a newer Node.js, or set LOOPAT_NODE to its path.',
  })
}

/** Takes the workspace for this process: nothing in it is changed before both locks are held. */
async function takeWorkspace(workspace: Workspace, paths: Paths, lifetime: Lifetime): Promise<{ isNew: boolean }> {
  prepareRuntimeDir(paths.runtime)
  const home = await prepareHome(paths)
  await takeLocks(lockPaths(paths), workspace, lifetime)
  await removeTemporaries(paths.runtime)
  return home
}

/** Ends and removes what a daemon of this home that was killed left, so that nobody but this one works in its places. */
async function takeOver({ paths, log }: Ground, { repos, image }: Rooms): Promise<void> {
  const count = await endMarked(markOfHome(paths.home))
  if (count > 0) log.info({ count }, 'ended programs that a daemon before this one had started')
  await repos.sweep()
  await image.sweep()
  await sweepSecrets(paths.control)
}

/** Variables that helper programs may need: where programs are, and how to get out to the network. */
function helperEnvironment(): Record<string, string> {
  const wanted =
    /^(PATH|HOME|USER|LOGNAME|LANG|TMPDIR|XDG_RUNTIME_DIR|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE|GIT_SSL_CAINFO)$/i
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      wanted.test(name) && value !== undefined ? [[name, value]] : [],
    ),
  )
}

/** Sockets on which podman may answer. */
function podmanCandidates(config: Config): Candidate[] {
  return candidateSockets({
    environment: process.env.LOOPAT_PODMAN_SOCKET,
    config: config.engine.socket,
    xdgRuntimeDir: process.env.XDG_RUNTIME_DIR,
  })
}

function buildEngine({ paths, config, log, lifetime }: Ground, hub: EventHub) {
  const podman = new PodmanService({
    candidates: podmanCandidates(config),
    runtimeDir: paths.runtime,
    logDir: dirname(paths.log),
    env: process.env,
  })
  lifetime.add(() => podman.dispose())
  const engine = createPodmanEngine({ socketPath: () => podman.socketPath(), env: process.env })
  const report = new EngineReport({
    log: log.child({ room: 'engine' }),
    onChange: (state) => hub.publish('daemon/changed', { engine: state }),
  })
  return { podman, engine, report }
}

/** Finds podman, or starts it; a host without it still gets a daemon, which tells what is wrong and goes on trying. */
async function openEngine({ podman, report }: ReturnType<typeof buildEngine>): Promise<void> {
  const opened = podman
    .start()
    .catch((error: unknown) => {
      if (!isEngineError(error)) throw error
    })
    .then(() => {
      report.update(podman.state)
      podman.supervise((state) => report.update(state))
    })
  await Promise.race([opened, systemClock.sleep(ENGINE_MS)])
}

/** What the configuration mounts into every loop, and what no mount may show. */
function operatorMounts({ paths, config }: Ground): LoopMounts {
  const { uid } = userInfo()
  const userHome = homedir()
  const sockets = podmanCandidates(config).map(({ socketPath }) => socketPath)
  const places = protectedPlaces({ home: paths.home, runtime: paths.runtime, userHome, uid, env: process.env, sockets })
  return {
    operator: config.mounts.map(({ src, dst, rw }) => ({ source: src, target: dst, readOnly: !rw })),
    userHome,
    guard: new MountGuard(places),
  }
}

/** Built before the loops, which it stops: what it has of them is only called later. */
function buildIdle({ paths, config, log }: Ground, leases: LeaseRegister, loops: () => LoopService): IdleService {
  return new IdleService({
    leases,
    files: new IdleFiles(paths.loops),
    loops: {
      look: (ref, signal) => loops().look(ref, signal),
      list: (params, signal) => loops().list(params, signal),
      sleep: (id, request, signal) => loops().sleep(id, request, signal),
    },
    clock: systemClock,
    log: log.child({ room: 'idle' }),
    boot: bootId(),
    maxRunning: config.idle.max_running,
    windows: { environment: parseIdleMs(process.env.LOOPAT_CONTAINER_IDLE_MS), config: config.idle.after },
  })
}

/** Built before the loops, whose control directories it fills: what it has of them is only called later. */
function buildHost(
  { paths, config, log }: Ground,
  hub: EventHub,
  { store, leases, loops }: { store: LoopStore; leases: LeaseRegister; loops: () => LoopService },
): HostService {
  const { path, approval, max_time, max_output, max_sessions, max_per_minute, mask, grants } = config.host
  return new HostService({
    home: paths.home,
    loopsDirectory: paths.loops,
    logPath: paths.hostLog,
    loops: {
      look: (ref, signal) => loops().look(ref, signal),
      ids: async () => (await store.list()).map(({ id }) => id),
      named: async (id) => {
        const loop = await store.read(id)
        return loop?.kind === 'readable' ? { id, name: loop.meta.name } : undefined
      },
      writable: () => loops().writable(),
      workdirOf: (id) => ({ host: store.paths(id).workdir, inside: workdirInside(id) }),
      controlOf: (id) => join(paths.control, id),
    },
    leases,
    runner: new RunnerPool({
      main: new URL('host-runner-main.js', import.meta.url),
      env: helperEnvironment(),
      clock: systemClock,
    }),
    settings: {
      path,
      approvalMs: approval,
      maxMs: max_time,
      maxOutputBytes: max_output,
      maxSessions: max_sessions,
      maxPerMinute: max_per_minute,
      mask,
      grants: grants.map(({ pass_env: passEnv, full_access: fullAccess, loop, ...grant }) => ({
        ...grant,
        passEnv,
        fullAccess,
        loop,
      })),
    },
    arrange: async (control, names) => {
      await placeControlFiles(control, { forwarder: join(paths.templates, 'loopat-host'), names })
    },
    declared: readDeclaredNames,
    env: process.env,
    clock: systemClock,
    log: log.child({ room: 'host' }),
    onRequested: (told) => hub.publish('host/approvalRequested', told, { loopId: told.approval.loop }),
    onSettled: (told) => hub.publish('host/approvalSettled', told, { loopId: told.approval.loop }),
  })
}

/** Names this run of the machine. Where the kernel does not, each run of the daemon counts as one: windows begin anew. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error
    return randomUUID()
  }
}

function buildRooms(ground: Ground, hub: EventHub) {
  const { workspace, paths, config, log, lifetime, homeIsNew } = ground
  const { podman, engine, report } = buildEngine(ground, hub)
  const clock = systemClock
  const leases = new LeaseRegister(clock)
  const env = helperEnvironment()
  const store = new LoopStore({
    directory: paths.loops,
    log: log.child({ room: 'loop' }),
    removeAsRoot: (path) => removeAsRoot(path, env),
  })
  const image = new ImageService({
    engine,
    workspace: workspace.name,
    templatesDir: paths.templates,
    settings: config.image,
    // Not the user's own TMPDIR: the tool's root is another user, which may not enter a private directory.
    tools: { command: 'mmdebstrap', env: { ...env, ...markOfHome(paths.home) }, tmpDir: '/var/tmp' },
    clock,
    log: log.child({ room: 'image' }),
    onEvent: (event) => hub.publish('image/progress', event),
  })
  const repos = new GitService({
    home: paths.home,
    settings: { key: config.git.key, roster: config.repos },
    env,
    log: log.child({ room: 'git' }),
  })
  const mounts = operatorMounts(ground)
  const vaults = new VaultStore({
    home: paths.home,
    log: log.child({ room: 'vault' }),
    // Not by our own hands: a loop could put links into what is being deleted.
    removeTree: (path) => removeAsRoot(path, env),
  })
  const user = userIdOf(userInfo().username)
  const idle: IdleService = buildIdle(ground, leases, () => loop)
  const marks = new CommandMarks()
  const agents = new AgentService({
    clock,
    marks,
    log: log.child({ room: 'exec' }),
    program: join(paths.templates, 'agent'),
    inside: CONTROL_INSIDE,
  })
  lifetime.add(agents)
  const host = buildHost(ground, hub, { store, leases, loops: () => loop })
  const loop: LoopService = new LoopService({
    agents,
    host,
    engine,
    store,
    images: image,
    repos,
    vaults,
    mounts,
    leases,
    admission: new GatedAdmission({
      places: config.idle.parallel_starts ?? availableParallelism(),
      makeRoom: (starting, onProgress, signal) => idle.makeRoom(starting, onProgress, signal),
    }),
    clock,
    log: log.child({ room: 'loop' }),
    paths,
    workspace: workspace.name,
    user,
    homeIsNew,
    onChange: (change) => {
      idle.changed(change)
      if (change.removed) host.removed(change.loop.id)
      hub.publish('loop/changed', change, { loopId: change.loop.id })
    },
    onContainer: (id, run) => {
      idle.container(id, run)
      host.container(id, run !== undefined)
    },
  })
  lifetime.add(loop)
  lifetime.add(host)
  lifetime.add(idle)
  const vault = new VaultService({ store: vaults, loops: loop, user, log: log.child({ room: 'vault' }) })
  const runner = new CommandRunner({ engine, clock, marks, agents })
  const exec = new ExecService({ loops: loop, runner, clock })
  const job = new JobService({
    engine,
    loops: loop,
    runner,
    leases,
    clock,
    log: log.child({ room: 'job' }),
    program: join(paths.templates, 'job'),
    loopIds: async () => (await store.list()).map(({ id }) => id),
    recordsOf: (id) => store.paths(id).jobs,
    runOf: (id) => store.paths(id).run,
    onChange: (change) => hub.publish('job/changed', change, { loopId: change.job.loop }),
  })
  lifetime.add(job)
  return { podman, engine, report, store, image, repos, host, idle, loop, exec, job, leases, vault, mounts }
}

type Rooms = ReturnType<typeof buildRooms>

function buildDoctor({ paths, config }: Ground, rooms: Rooms): DoctorService {
  const { engine, report, store, host, image, loop, mounts } = rooms
  const { uid, username } = userInfo()
  return new DoctorService({
    probe: hostProbe({ uid, name: username }, process.env),
    engine,
    engineState: () => report.state(),
    workspace: async (signal) => {
      const up = report.state().state === 'up'
      const { loops } = await loop.list({ archived: 'include' }, signal)
      return {
        home: paths.home,
        runtime: paths.runtime,
        broken: loops.filter(({ state }) => state === 'broken'),
        refusedMounts: await operatorFaults(mounts),
        hostFaults: await host.faults(),
        storage: store.storage,
        image: up ? await image.status({}, signal) : undefined,
        hasBase: config.image.base !== undefined,
        now: systemClock.now(),
      }
    },
  })
}

function buildManager({ handover, log }: Ground): ServiceManager {
  return new ServiceManager({
    handover,
    env: helperEnvironment(),
    clock: systemClock,
    log: log.child({ room: 'service-manager' }),
  })
}

/** Resolves when the daemon is told to stop; at once when it was told while it started. */
async function told(stop: AbortSignal): Promise<void> {
  if (!stop.aborted) await once(stop, 'abort')
}

/** Serves until it is told to stop. */
async function serve(ground: Ground, stop: AbortController): Promise<void> {
  const { workspace, paths, config, log, lifetime } = ground
  const hub = new EventHub()
  const rooms = buildRooms(ground, hub)
  const daemon = new DaemonService({
    workspace,
    paths,
    startedAt: systemClock.now(),
    engine: () => rooms.report.state(),
    storage: () => rooms.store.storage,
    loops: () => rooms.loop.counts(),
    clients: () => server.connections,
    leases: () => rooms.leases.users().length,
    shutdown: () => stop.abort('asked by a client'),
  })
  const { exec, host, idle, image, job, loop, vault } = rooms
  const server = createServer({
    services: { daemon, doctor: buildDoctor(ground, rooms), exec, host, idle, image, job, loop, vault },
    hub,
    workspace: workspace.name,
    version: VERSION,
    clock: systemClock,
    log: log.child({ room: 'server' }),
    limits: { maxConnections: config.daemon.max_connections, maxMessageBytes: config.daemon.max_message_bytes },
  })
  lifetime.add(() => rooms.image.settled())
  await Promise.all([takeOver(ground, rooms), openEngine(rooms)])
  await rooms.idle.open()
  await rooms.host.open()
  await rooms.loop.open()
  rooms.job.open()
  // Whoever asks for a loop from here on finds that the jobs of the daemon before use it.
  await rooms.job.adopted
  for (const fault of await operatorFaults(rooms.mounts))
    log.warn({ ...fault }, 'a mount of the configuration is left out')
  await server.listen({ path: paths.socket, descriptor: ground.handover.descriptor })
  const manager = lifetime.add(buildManager(ground))
  await manager.ready()
  // A daemon that stops takes no calls; it still gives signs of life.
  manager.watch(async (signal) => (stop.signal.aborted ? undefined : await callSelf(paths.socket, signal)))
  rooms.idle.begin()
  log.info({ socket: paths.socket, version: VERSION, node: process.versions.node }, 'ready')
  process.stdout.write(`loopatd ${VERSION} serves ${workspace.name} on ${paths.socket}\n`)
  await told(stop.signal)
  log.info({ reason: String(stop.signal.reason) }, 'stopping')
  await manager.stopping(config.daemon.drain_seconds * 1000 + 2 * SHUTDOWN_MS)
  await server.close(config.daemon.drain_seconds * 1000)
  if (config.daemon.stop_loops) await rooms.loop.stopAll(STOP_GRACE_SECONDS, AbortSignal.timeout(SHUTDOWN_MS))
}

function handleSignals(stop: AbortController): void {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop.abort(signal))
}

/** A defect must be seen, and must leave nothing half-done behind it: the next start reconciles. */
function handleDefects(log: Logger): void {
  const die = (err: unknown) => {
    log.error({ err }, 'defect: the daemon ends')
    process.stderr.write(`loopatd: defect: ${err instanceof Error ? err.stack : String(err)}\n`)
    process.exit(EXIT.failure.code)
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
}

/** What can be known to keep the daemon from starting, without starting it. Changes nothing. */
async function check(): Promise<void> {
  runtimeCheck()
  logLevel(process.env.LOOPAT_LOG_LEVEL)
  parseIdleMs(process.env.LOOPAT_CONTAINER_IDLE_MS)
  const { config, home, runtime } = pathsOf(findWorkspace(), findTemplates(import.meta.url))
  checkRuntimeDir(runtime)
  await checkHome(home)
  await readConfig(config)
}

async function run(): Promise<void> {
  // First of all: no program that is started may believe that the service manager means it.
  const handover = takeHandover(process.env, process.pid)
  const stop = new AbortController()
  handleSignals(stop)
  try {
    await serveWorkspace(handover, stop)
  } catch (error) {
    if (isLoopatError(error)) {
      const options = { handover, env: helperEnvironment(), clock: systemClock }
      await holdFailure(options, [error.message, error.next ?? ''].join(' '), stop.signal)
    }
    throw error
  }
}

async function serveWorkspace(handover: Handover, stop: AbortController): Promise<void> {
  runtimeCheck()
  // The home is 0700; inside of it, a sandbox's other users must be able to read what git checks out.
  process.umask(0o022)
  const level = logLevel(process.env.LOOPAT_LOG_LEVEL)
  const workspace = findWorkspace()
  const paths = pathsOf(workspace, findTemplates(import.meta.url))
  const lifetime = new Lifetime()
  try {
    const { isNew: homeIsNew } = await takeWorkspace(workspace, paths, lifetime)
    const log = openLog({ path: paths.log, level, stderr: process.stderr.isTTY })
    handleDefects(log)
    try {
      const config = await readConfig(paths.config)
      await serve({ workspace, paths, config, log, lifetime, handover, homeIsNew }, stop)
    } catch (err) {
      log.error({ err }, 'the daemon ends')
      throw err
    }
    log.info({}, 'stopped')
  } finally {
    const giveUp = setTimeout(() => process.exit(EXIT.failure.code), SHUTDOWN_MS)
    await lifetime.dispose()
    clearTimeout(giveUp)
  }
}

function fail(error: unknown): void {
  const known = isLoopatError(error)
  process.stderr.write(`loopatd: ${error instanceof Error ? error.message : String(error)}\n`)
  if (known && error.next !== undefined) process.stderr.write(`  → ${error.next}\n`)
  process.exitCode = known ? error.exitCode : EXIT.failure.code
}

function readArguments(): 'check' | 'run' | 'help' | 'version' {
  try {
    const { values } = parseArgs({
      options: { check: { type: 'boolean' }, help: { type: 'boolean', short: 'h' }, version: { type: 'boolean' } },
    })
    if (values.help === true) return 'help'
    if (values.check === true) return 'check'
    return values.version === true ? 'version' : 'run'
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw new LoopatError('invalid_params', message, { next: 'Run: loopatd --help' })
  }
}

async function main(): Promise<void> {
  try {
    const wanted = readArguments()
    if (wanted === 'run') await run()
    else if (wanted === 'check') await check()
    else process.stdout.write(wanted === 'help' ? HELP : `${VERSION}\n`)
  } catch (error) {
    fail(error)
  }
}

await main()
