import type { Socket } from 'node:net'

/** A command of the host as it is to be run: decided, resolved and checked. */
export interface HostCommand {
  /** Absolute path of the program, whose last name is the one that was granted. */
  readonly path: string
  /**
   * Words of the command; the first is the name it was called by. Any bytes but NUL. Where a shell must pass them on (on
   * a terminal, and words that are no UTF-8), the program is told `path` as its name instead.
   */
  readonly argv: readonly Buffer[]
  /** Where it runs. Below `from`, which only the user can replace, no link is followed. */
  readonly directory: { readonly from: string; readonly names: readonly string[] }
  /** The whole environment, but for `PWD`. With `LOOPAT_HOST`, what left its session is found, too, when it is ended. */
  readonly env: Readonly<Record<string, string>>
  /** It runs on a terminal of this size; without it, on pipes. */
  readonly size: { readonly cols: number; readonly rows: number } | undefined
  /** Time limit, from the call until the caller has all output. */
  readonly maxMs: number
  /** Limit of both outputs together. */
  readonly maxOutputBytes: number
}

/** Why a command was ended before it ended by itself: `lost` with the process that ran it. */
export type EndReason = 'time' | 'output' | 'caller' | 'stopped' | 'lost'

/** How a command ended. */
export interface HostRunEnd {
  /** What its caller was told: see behaviour H-8. */
  readonly code: number
  /** Null when it ended by itself, or could not be started. */
  readonly reason: EndReason | null
  /** Bytes of stdin that were passed on. */
  readonly bytesIn: number
  /** Bytes of both outputs that were passed on. */
  readonly bytesOut: number
}

/** A command that runs. */
export interface HostRun {
  /** Resolves when it is over and its caller has been told, or is gone. Never rejects. */
  readonly ended: Promise<HostRunEnd>
  /** Ends all that it has started: TERM, and KILL two seconds later. Idempotent. */
  end(): void
}

/** Runs host commands. */
export interface HostRunner extends AsyncDisposable {
  /**
   * Runs a command whose streams are on a connection. What goes wrong is told to the caller, on its stderr and with a code.
   * @param socket behind the first frame; it is taken over, its listeners for data are removed, and this process sees it
   *   close when it was handed on
   * @param head bytes that came behind the first frame
   */
  run(socket: Socket, head: Buffer, command: HostCommand): HostRun
  /** Makes ready for commands that will probably come. Idempotent. */
  warm(): void
}

/** Exit codes that we give. */
export const HOST_EXIT = { time: 124, failed: 125, notExecutable: 126, notFound: 127, signal: 128 } as const

/** Begins every sentence that is for the person at the other end. */
export const SPEAKER = 'loopat-host'

/** The variable of a command's environment by which all that it started is found. */
export const MARK_NAME = 'LOOPAT_HOST'
