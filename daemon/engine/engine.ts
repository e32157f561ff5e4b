/**
 * The engine port: what loopatd needs of a container engine, in our own words. `podman/` implements it on the
 * Docker-compatible API; `test/fake/engine.ts` implements it in memory; `test/contract/engine.ts` holds both to it.
 *
 * Every call rejects with an {@link EngineError} and with nothing else, except for the abort reason of its signal.
 * No caller matches on prose: what a caller may branch on is {@link EngineError.kind}.
 */
import type { Readable, Writable } from 'node:stream'

/** What went wrong, as far as a caller may care. */
export type EngineErrorKind =
  /** The container, image or network does not exist. */
  | 'not_found'
  /** The name is taken by another object. */
  | 'name_taken'
  /** The object is used by another one (network with containers, image with containers). */
  | 'in_use'
  /** The container is in a state that forbids the operation (exec on a stopped one). */
  | 'wrong_state'
  /** A published host port is taken. */
  | 'port_taken'
  /** A network named by the container is missing, or its network namespace is stale. */
  | 'network_stale'
  /** A bind source no longer exists. */
  | 'mount_missing'
  /** The runtime holds the rest of a start that was killed; only a new container can be started. */
  | 'runtime_stale'
  /** The command does not exist in the container (127) */
  | 'command_not_found'
  /** The command exists but is not executable (126). */
  | 'not_executable'
  /** The working directory of the command is not there, or is none (126). */
  | 'directory_unusable'
  /** The image can be found in no registry. */
  | 'image_unavailable'
  /** A build step failed. */
  | 'build_failed'
  /** The disk is full. */
  | 'storage_full'
  /** No engine answers on the socket. */
  | 'unavailable'
  /** The connection broke after the request was sent: the outcome is unknown. */
  | 'connection_lost'
  /** This host cannot enforce a limit that is asked for. */
  | 'limit_unsupported'
  /** The engine refused for another reason, which is in the message. */
  | 'failed'

/** The only error an engine throws. */
export class EngineError extends Error {
  override readonly name = 'EngineError'
  readonly kind: EngineErrorKind
  constructor(kind: EngineErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.kind = kind
  }
}

/** Reports whether `value` is an {@link EngineError} of one of the given kinds (of any kind when none is given). */
export function isEngineError(value: unknown, ...kinds: EngineErrorKind[]): value is EngineError {
  return value instanceof EngineError && (kinds.length === 0 || kinds.includes(value.kind))
}

/** Labels by name. */
export type Labels = Readonly<Record<string, string>>

/** Facts about the engine and its host. */
export interface EngineInfo {
  readonly version: string
  readonly rootless: boolean
  readonly storageDriver: string
  readonly networkBackend: string
  readonly cgroupVersion: '1' | '2' | 'unknown'
  /** Controllers that limits can use; empty when limits are not enforceable. */
  readonly cgroupControllers: readonly string[]
}

/** One bind mount. Neither path may contain `:`, `,` or control characters. */
export interface BindMount {
  readonly source: string
  readonly target: string
  readonly readOnly: boolean
}

/** What a container may use of the host; absent is unlimited. */
export interface ContainerLimits {
  /** Memory in bytes, swap included. */
  readonly memoryBytes?: number | undefined
  /** Processors; 0.5 is half of one. */
  readonly cpus?: number | undefined
  /** Processes and threads. */
  readonly pids?: number | undefined
}

/** Which controller of {@link EngineInfo.cgroupControllers} enforces which limit. */
export const LIMIT_CONTROLLERS = { memoryBytes: 'memory', cpus: 'cpu', pids: 'pids' } as const satisfies Record<
  keyof ContainerLimits,
  string
>

/** All that is needed to create a container. */
export interface ContainerSpec {
  readonly name: string
  readonly image: string
  readonly hostname: string
  readonly labels: Labels
  /** Argument vector of the container's command; replaces entry point and command of the image. */
  readonly command: readonly string[]
  readonly workdir: string
  /** Never secrets: readable by inspect. */
  readonly env: Readonly<Record<string, string>>
  /** In the order of mounting. */
  readonly mounts: readonly BindMount[]
  /** The caller's own uid and gid appear as these inside. */
  readonly keepId: { readonly uid: number; readonly gid: number }
  /** How the mapped user is known inside, where the image knows it otherwise or not at all; the image's way when absent. */
  readonly account?: { readonly name: string; readonly home: string }
  /** An init process reaps children and forwards signals. */
  readonly init: boolean
  /** A network name, or one of the two special modes. */
  readonly network:
    | { readonly kind: 'named'; readonly name: string; readonly aliases: readonly string[] }
    | { readonly kind: 'none' }
    | { readonly kind: 'host' }
  /** Addresses of name servers; none for those of its network. */
  readonly dns: readonly string[]
  readonly limits: ContainerLimits
  /** Seconds between TERM and KILL when the engine stops the container by itself. */
  readonly stopTimeoutSeconds: number
}

/** What a container does now. `other` is any state that is none of these (paused, removing, unknown). */
export type ContainerStatus = 'created' | 'running' | 'stopping' | 'exited' | 'other'

/** A container as listed. */
export interface ContainerSummary {
  readonly id: string
  readonly name: string
  readonly labels: Labels
  readonly status: ContainerStatus
}

/** A container as inspected. */
export interface ContainerDetails extends ContainerSummary {
  /** Plain hex id of the image the container was made from. */
  readonly imageId: string
  /** RFC 3339; undefined when it never started. */
  readonly startedAt: string | undefined
  /** RFC 3339; undefined while it runs or when it never started. */
  readonly finishedAt: string | undefined
  readonly exitCode: number | undefined
  /** Host pid of its first process, 0 when it does not run. */
  readonly pid: number
  /** Address in its (first) network, if any. */
  readonly address: string | undefined
}

/** One command to run in a running container. */
export interface ExecSpec {
  readonly command: readonly string[]
  readonly cwd?: string
  /** User name or `uid[:gid]`; default: the image's user. */
  readonly user?: string
  /** Plain variables only: they stay readable in the engine's database. */
  readonly env: Readonly<Record<string, string>>
  /** When set, a terminal of this size is allocated and stderr is part of stdout. */
  readonly tty?: TerminalSize
  /** Whether stdin is connected; when false the command sees end of file. */
  readonly stdin: boolean
}

/** Size in character cells. */
export interface TerminalSize {
  readonly cols: number
  readonly rows: number
}

/** Signals that can be sent into a loop. */
export type ExecSignal = 'SIGHUP' | 'SIGINT' | 'SIGQUIT' | 'SIGTERM' | 'SIGKILL' | 'SIGUSR1' | 'SIGUSR2' | 'SIGWINCH'

/** How a command ended: 128 + n when signal n ended it. */
export interface ExecExit {
  readonly exitCode: number
}

/** A command that runs in a container. Its owner must drain or destroy stdout and stderr, and call `close` in the end. */
export interface EngineExec {
  /**
   * Bytes to the command; ending it closes the command's stdin (with a terminal: end of file is typed). Destroyed when
   * the command ends; what is written after that is discarded.
   */
  readonly stdin: Writable
  /** Ends when the command has ended. Applies back-pressure to the command. */
  readonly stdout: Readable
  /** Empty with a terminal. */
  readonly stderr: Readable
  /**
   * Resolves when the command has ended and its output was handed over. Rejects with `connection_lost` when the engine
   * went away (never a made-up exit code), when the end of the output may be missing, or after `close`; with
   * `command_not_found`, `not_executable` or `directory_unusable` when nothing ran. On a lost connection stdout and stderr close without
   * their end. A rejection that nobody listens for is not reported.
   */
  readonly exit: Promise<ExecExit>
  /** Resolves when the command has ended, though its output may not be handed over yet; where that is known. */
  readonly ended?: Promise<void>
  /** Changes the terminal's size; does nothing without a terminal or after the end. */
  resize(size: TerminalSize): Promise<void>
  /**
   * Sends a signal to the command's whole process group, also to what is left of it when the command itself has ended
   * after an earlier signal; reports whether anything was still there.
   */
  kill(signal: ExecSignal): Promise<boolean>
  /** Gives up the streams without ending the command. Idempotent. */
  close(): void
}

/** An image in the local store. */
export interface ImageDetails {
  /** Plain hex. */
  readonly id: string
  readonly tags: readonly string[]
  readonly labels: Labels
  readonly sizeBytes: number
  /** RFC 3339. */
  readonly createdAt: string
}

/** A step or a line of a long engine operation. */
export interface EngineProgress {
  readonly message: string
  /** 1-based number of the step when the engine tells it. */
  readonly step?: number
  readonly total?: number
}

/** Takes progress; must not throw. */
export type ProgressSink = (progress: EngineProgress) => void

/** What to build. */
export interface BuildSpec {
  /** An uncompressed tar of the context. It must contain `containerfile`. */
  readonly context: Readable
  /** Path of the recipe in the context. */
  readonly containerfile: string
  /** Fully qualified name with tag (`localhost/…:…`) that the finished image gets. */
  readonly tag: string
  readonly buildArgs: Readonly<Record<string, string>>
  readonly labels: Labels
}

/** Something happened to a container. */
export interface EngineEvent {
  readonly kind: 'container'
  /** `create`, `start`, `died`, `stop`, `remove` and others, in lower case; unknown ones are passed on. */
  readonly action: string
  readonly id: string
  readonly name: string
  readonly labels: Labels
  /** Nanoseconds since the epoch, as a decimal string. */
  readonly timeNano: string
}

/** Messages of an event subscription. `connected` says that everything may have changed: list again. */
export type EngineEventMessage =
  | { readonly kind: 'connected' }
  | { readonly kind: 'disconnected'; readonly reason: string }
  | EngineEvent

/** Containers. All operations take a name or an id. */
export interface ContainerEngine {
  /** Creates; rejects with `name_taken`, `not_found` (image), `network_stale`, `limit_unsupported`. May take minutes under keep-id: no deadline. */
  create(spec: ContainerSpec, signal?: AbortSignal): Promise<{ readonly id: string }>
  /** Starts; a running container is a success. Rejects with `port_taken`, `mount_missing`, `network_stale`, `runtime_stale`, `failed`. */
  start(container: string, signal?: AbortSignal): Promise<void>
  /**
   * Stops with TERM, then KILL after `graceSeconds`; a stopped one is a success. Commands in it end by KILL; a reader
   * that is behind loses output. Rejects with `not_found`, or with `wrong_state` when only removal by force ends it.
   */
  stop(container: string, graceSeconds: number, signal?: AbortSignal): Promise<void>
  /** Removes by force; a missing one is a success. */
  remove(container: string, signal?: AbortSignal): Promise<void>
  /** Ends what still runs of containers that are removed, as an engine that is killed may leave it. Returns how many. */
  cleanUp(): Promise<number>
  /** Gives a container another name; rejects with `not_found`, `name_taken`. */
  rename(container: string, name: string, signal?: AbortSignal): Promise<void>
  /**
   * Makes an image of a stopped container: its image and its writable layer, not what is mounted. Moves the tag when
   * another image has it. Rejects with `not_found`, `storage_full`.
   * @param tag fully qualified
   */
  commit(container: string, tag: string, signal?: AbortSignal): Promise<void>
  /** Undefined when there is none. */
  inspect(container: string, signal?: AbortSignal): Promise<ContainerDetails | undefined>
  /** All containers, in every state, that carry all the labels. */
  list(labels: Labels, signal?: AbortSignal): Promise<ContainerSummary[]>
  /**
   * Starts a command. Rejects with `not_found`, `wrong_state`. The signal ends the start alone: a command that has
   * already begun then is killed.
   */
  exec(container: string, spec: ExecSpec, signal?: AbortSignal): Promise<EngineExec>
}

/** Images. Names are always fully qualified. */
export interface ImageEngine {
  /** Undefined when there is none. */
  inspect(image: string, signal?: AbortSignal): Promise<ImageDetails | undefined>
  /** Images of which a tag starts with `namePrefix` (repository without tag, or a part of it). */
  list(namePrefix: string, signal?: AbortSignal): Promise<ImageDetails[]>
  /** Fetches from a registry; rejects with `image_unavailable`. */
  pull(image: string, onProgress: ProgressSink, signal?: AbortSignal): Promise<void>
  /**
   * Builds under a temporary tag, verifies, then tags. Rejects with `build_failed`, whose message holds the last lines.
   * A failed or aborted build leaves no image, no working container and no temporary tag. Builds queue: one at a time,
   * and the place in the queue is told as progress. A context that fails or is cut off rejects with `failed`.
   */
  build(spec: BuildSpec, onProgress: ProgressSink, signal?: AbortSignal): Promise<ImageDetails>
  /** Makes an image of one layer from a root file system tar. */
  import(rootfs: Readable, tag: string, signal?: AbortSignal): Promise<ImageDetails>
  tag(image: string, tag: string, signal?: AbortSignal): Promise<void>
  /** Takes a name away; the image goes when it was the last one and nothing uses it, else it stays without a name. A missing one is a success. */
  untag(tag: string, signal?: AbortSignal): Promise<void>
  /** Removes what crashed builds left behind (working containers, nameless layers with our label, files). Returns how many things. */
  cleanUp(signal?: AbortSignal): Promise<number>
}

/** A bridge network. */
export interface NetworkSpec {
  readonly name: string
  readonly labels: Labels
  /**
   * Whether it has a name server of its own, which knows the containers in it. Where it has, containers ask that one
   * before any other that they were given. Only looked at when the network is made.
   */
  readonly resolves: boolean
}

/** Networks. */
export interface NetworkEngine {
  /** Makes sure that a bridge network of this name with these labels exists; rejects with `name_taken` when a foreign one has the name. */
  ensure(spec: NetworkSpec, signal?: AbortSignal): Promise<void>
  /** Missing is a success; rejects with `in_use`. */
  remove(name: string, signal?: AbortSignal): Promise<void>
  list(labels: Labels, signal?: AbortSignal): Promise<{ readonly name: string; readonly labels: Labels }[]>
}

/** A container engine. */
export interface Engine {
  readonly container: ContainerEngine
  readonly image: ImageEngine
  readonly network: NetworkEngine
  /** Asks whether the engine answers; below a millisecond on podman. */
  ping(signal?: AbortSignal): Promise<void>
  info(signal?: AbortSignal): Promise<EngineInfo>
  /**
   * Follows container events of everything that carries the labels. Reconnects for ever by itself, replaying what it
   * may have missed; duplicates are removed. `listener` must not throw.
   * @returns stops following; idempotent
   */
  watch(labels: Labels, listener: (message: EngineEventMessage) => void): () => void
}
