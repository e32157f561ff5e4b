/**
 * The error catalogue: every error that crosses the wire, with its number, its exit code and its meaning.
 *
 * On the wire an error is a JSON-RPC error object whose `code` is the number below, whose `message` is one sentence
 * that names the thing and the rule, and whose `data` is an {@link ErrorData}. JSON-RPC reserves -32768..-32000 and
 * vscode-jsonrpc takes part of that range, so ours are positive. Numbers are never reused.
 *
 * This file loads no library: the command line imports it on every start.
 */

/** Exit codes of `loopctl`, the one table they come from. Signals are reported as 128 + signal number. */
export const EXIT = {
  ok: { code: 0, meaning: 'success' },
  failure: { code: 1, meaning: 'the operation failed' },
  usage: { code: 2, meaning: 'bad arguments, parameters or configuration' },
  notFound: { code: 3, meaning: 'the thing named does not exist' },
  conflict: { code: 4, meaning: 'the thing is in a state that forbids the operation, or a name is taken' },
  unavailable: { code: 5, meaning: 'podman, an image or a remote is not available' },
  daemon: { code: 6, meaning: 'the daemon cannot be reached or speaks another protocol version' },
  storage: { code: 7, meaning: 'the workspace cannot be read or written' },
  lost: { code: 123, meaning: '`job wait`: the job was lost, and how it ended is not known' },
  timeout: { code: 124, meaning: 'a time limit ended the command' },
  execFailed: { code: 125, meaning: '`exec`/`shell`/`job wait`: loopctl or the daemon failed, not the command' },
  notExecutable: { code: 126, meaning: '`exec`/`shell`: the command exists but cannot be executed' },
  commandNotFound: { code: 127, meaning: '`exec`/`shell`: the command was not found in the loop' },
  interrupted: { code: 130, meaning: 'interrupted by Ctrl-C' },
} as const satisfies Record<string, { code: number; meaning: string }>

/** Name of a row of {@link EXIT}. */
export type ExitName = keyof typeof EXIT

interface CatalogueEntry {
  /** JSON-RPC error code. */
  readonly number: number
  /** Exit code of `loopctl`. */
  readonly exit: ExitName
  /** What it means and when it is sent; printed in the README. */
  readonly meaning: string
}

/** Every catalogue error, sorted by name. */
export const ERRORS = {
  already_running: { number: 1001, exit: 'conflict', meaning: 'Another daemon serves this workspace.' },
  ambiguous_loop: { number: 1002, exit: 'usage', meaning: 'An id prefix matches more than one loop.' },
  approval_not_found: {
    number: 1074,
    exit: 'notFound',
    meaning: 'No command waits under this id for an approval: it was settled, or its caller is gone.',
  },
  cancelled: { number: 1003, exit: 'interrupted', meaning: 'The request was cancelled or its client went away.' },
  config_invalid: {
    number: 1004,
    exit: 'usage',
    meaning: '`config.toml` has a syntax error, an unknown key or a wrong type.',
  },
  connection_lost: {
    number: 1005,
    exit: 'unavailable',
    meaning: 'The connection to podman broke in the middle; the outcome is unknown.',
  },
  daemon_stopping: { number: 1006, exit: 'daemon', meaning: 'The daemon is shutting down and takes no new work.' },
  daemon_unreachable: {
    number: 1007,
    exit: 'daemon',
    meaning: 'No daemon answers on the socket and none could be started.',
  },
  engine_failed: {
    number: 1008,
    exit: 'failure',
    meaning: 'podman refused an operation; its own words are in the message.',
  },
  engine_unavailable: {
    number: 1009,
    exit: 'unavailable',
    meaning: 'podman is missing, not running, or cannot work on this host.',
  },
  exec_not_executable: {
    number: 1034,
    exit: 'notExecutable',
    meaning: 'The command exists in the loop but cannot be executed, or its working directory cannot be used.',
  },
  exec_not_found: { number: 1035, exit: 'commandNotFound', meaning: 'The command does not exist in the loop.' },
  full_access_needed: {
    number: 1071,
    exit: 'usage',
    meaning: 'The program can run anything on the host, so its grant needs `--full-access`.',
  },
  git_failed: { number: 1011, exit: 'failure', meaning: 'git failed on the host or in the loop.' },
  grant_not_found: { number: 1073, exit: 'notFound', meaning: 'There is no such grant.' },
  host_command_not_found: {
    number: 1070,
    exit: 'notFound',
    meaning: 'The host has no such program in the configured path.',
  },
  host_path_unsafe: {
    number: 1072,
    exit: 'usage',
    meaning: 'A loop can write a directory of the configured path, or the program itself.',
  },
  image_build_failed: { number: 1012, exit: 'unavailable', meaning: 'The sandbox image could not be built.' },
  image_unavailable: { number: 1013, exit: 'unavailable', meaning: 'An image is neither present nor to be had.' },
  internal: { number: 1014, exit: 'failure', meaning: 'A defect of loopatd; the log has the details.' },
  invalid_params: {
    number: 1015,
    exit: 'usage',
    meaning: 'Parameters are missing, of the wrong type, unknown or out of range.',
  },
  job_ended: { number: 1050, exit: 'conflict', meaning: 'The job has ended already.' },
  job_failed: { number: 1051, exit: 'failure', meaning: 'The job could not be begun in the loop.' },
  job_not_found: { number: 1052, exit: 'notFound', meaning: 'The loop has no job of this id.' },
  job_running: { number: 1053, exit: 'conflict', meaning: 'The job still runs; it must end before it is removed.' },
  lease_foreign: {
    number: 1061,
    exit: 'conflict',
    meaning: 'The lease belongs to a command, a job, a terminal or another connection.',
  },
  lease_not_found: { number: 1060, exit: 'notFound', meaning: 'There is no such lease or hold on the loop.' },
  limit_unsupported: {
    number: 1040,
    exit: 'unavailable',
    meaning: 'This host cannot enforce a limit that is asked for.',
  },
  log_unreadable: {
    number: 1054,
    exit: 'failure',
    meaning: 'The log of a job cannot be read: the loop has put something else in its place.',
  },
  loop_archived: { number: 1016, exit: 'conflict', meaning: 'The loop is archived; it must be unarchived first.' },
  loop_broken: {
    number: 1017,
    exit: 'storage',
    meaning: "The loop's metadata cannot be read; it is shown but not touched.",
  },
  loop_in_use: {
    number: 1042,
    exit: 'conflict',
    meaning: 'A change takes a new container, and what runs in the old one would end.',
  },
  loop_not_found: { number: 1018, exit: 'notFound', meaning: 'No loop has this id, name or id prefix.' },
  loop_not_running: {
    number: 1019,
    exit: 'conflict',
    meaning: 'The loop is stopped and the caller asked not to start it, or it was stopped while a command ran.',
  },
  message_too_large: {
    number: 1021,
    exit: 'usage',
    meaning: 'A frame on the socket exceeds the size limit; the connection is closed.',
  },
  method_not_found: { number: 1022, exit: 'usage', meaning: 'No such method.' },
  mount_refused: {
    number: 1041,
    exit: 'usage',
    meaning: 'A file or directory of the host is not there or must not be mounted, or not at that place.',
  },
  name_taken: {
    number: 1023,
    exit: 'conflict',
    meaning: 'Another loop has this name, or a foreign container has it in podman.',
  },
  not_initialized: { number: 1024, exit: 'daemon', meaning: 'A request came before `initialize`.' },
  offset_invalid: { number: 1055, exit: 'usage', meaning: 'An offset is beyond the end of a log.' },
  protocol_error: {
    number: 1025,
    exit: 'daemon',
    meaning: 'Bytes on the socket are not a valid message; the connection is closed.',
  },
  protocol_unsupported: { number: 1026, exit: 'daemon', meaning: 'Client and daemon share no protocol version.' },
  repo_invalid: { number: 1027, exit: 'usage', meaning: 'A repository source, ref or roster name is not acceptable.' },
  repo_unavailable: { number: 1028, exit: 'notFound', meaning: 'A repository does not exist or cannot be cloned.' },
  start_failed: { number: 1029, exit: 'failure', meaning: 'The container was created but does not start.' },
  storage_failed: {
    number: 1030,
    exit: 'storage',
    meaning: 'The workspace cannot be written (disk full, read-only or permission).',
  },
  stream_invalid: {
    number: 1031,
    exit: 'failure',
    meaning: 'A stream token is unknown, expired, used or never connected.',
  },
  too_many_grants: {
    number: 1075,
    exit: 'conflict',
    meaning: 'The loop, or the workspace, has as many grants as it may.',
  },
  too_many_requests: {
    number: 1032,
    exit: 'conflict',
    meaning: 'The client exceeds its limit of requests in flight, streams, subscriptions or leases.',
  },
  unpromoted_work: {
    number: 1033,
    exit: 'conflict',
    meaning: 'The loop holds commits that are on no remote, or uncommitted files.',
  },
  vault_in_use: { number: 1036, exit: 'conflict', meaning: 'Loops use the vault, which is to be removed.' },
  vault_invalid: {
    number: 1037,
    exit: 'usage',
    meaning: 'A vault, or a name or value for it, is not acceptable, or a link in it leads out of it.',
  },
  vault_not_found: { number: 1038, exit: 'notFound', meaning: 'The user has no vault of this name.' },
} as const satisfies Record<string, CatalogueEntry>

/** Name of a catalogue error, stable across versions. */
export type ErrorName = keyof typeof ERRORS

/** `data` of an error on the wire. */
export interface ErrorData {
  /** Catalogue name. */
  readonly name: ErrorName
  /** What to do next: one sentence, often a command. */
  readonly next?: string
  /** Facts of this case for programs: ids, paths, lists. Never secrets. */
  readonly details?: Readonly<Record<string, unknown>>
}

/** Options of a {@link LoopatError}. */
export interface LoopatErrorOptions {
  /** What to do next: one sentence, often a command. */
  readonly next?: string
  /** Facts for programs. */
  readonly details?: Readonly<Record<string, unknown>>
  /** What was caught; kept for the log, never sent. */
  readonly cause?: unknown
}

/** A catalogue error, thrown by the daemon's services and by the client alike. */
export class LoopatError extends Error {
  override readonly name = 'LoopatError'
  readonly code: ErrorName
  readonly next: string | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined

  /**
   * @param code catalogue name
   * @param message one sentence that names the thing and the rule that was broken
   * @param options next step, facts and cause
   */
  constructor(code: ErrorName, message: string, options: LoopatErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.next = options.next
    this.details = options.details
  }

  /** Exit code of `loopctl` for this error. */
  get exitCode(): number {
    return EXIT[ERRORS[this.code].exit].code
  }
}

/** Reports whether `value` is a {@link LoopatError}, optionally of the given name. */
export function isLoopatError(value: unknown, code?: ErrorName): value is LoopatError {
  return value instanceof LoopatError && (code === undefined || value.code === code)
}

/** Reports whether `name` is in the catalogue (wire data is untrusted until checked). */
export function isErrorName(name: unknown): name is ErrorName {
  return typeof name === 'string' && Object.hasOwn(ERRORS, name)
}
