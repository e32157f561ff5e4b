import type { Readable, Writable } from 'node:stream'
import type { LoopatClient } from '@loopatd/client'
import type { Workspace } from '@loopatd/protocol/socket'
import type { Output } from './output.ts'
import type { SignalSource, Signals } from './signals.ts'
import type { PatientOutputs } from './terminal-output.ts'

/** Standard input. */
export type Input = Readable & { readonly isTTY?: boolean }
/** Standard output or error. */
export type Display = Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number }

/** What loopctl gets from the system; tests bring their own. */
export interface Host {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly stdin: Input
  readonly stdout: Display
  readonly stderr: Display
  /** The same for output that may be long: a terminal that takes nothing for a while does not hold the program up. */
  readonly patient: PatientOutputs
  readonly signals: SignalSource
  /** Makes the terminal on stdin pass every byte both ways as it is, or puts it back as it was. */
  setRawMode(raw: boolean): void
  /** Milliseconds since the epoch. */
  now(): number
  /** Ends the program at once: what a second signal does. */
  exit(code: number): void
  /** Calls the listener, which must not wait, right before the program ends, however it ends. @returns stops that */
  atExit(listener: () => void): () => void
  /**
   * Has something done right before Ctrl-Z stops the program, and when it is continued. Neither must throw.
   * @returns stops that
   */
  onSuspend(before: () => Promise<void>, after: () => void): () => void
  /** Finds the workspace. @throws LoopatError `config_invalid` */
  workspace(): Promise<Workspace>
  /** Connects to the daemon of the workspace. @throws LoopatError `daemon_unreachable`, `protocol_unsupported` */
  connect(options: ConnectOptions): Promise<LoopatClient>
}

/** How to reach the daemon. */
export interface ConnectOptions {
  /** Whether to start the daemon when none runs. */
  readonly start: boolean
  /** Called when a daemon is being started. */
  readonly onStart: () => void
  readonly signal: AbortSignal
}

/** What a command works with. */
export interface Context extends Omit<Host, 'connect' | 'signals'> {
  readonly output: Output
  readonly signals: Signals
  /** Aborts when the user interrupts; every request takes it. */
  readonly signal: AbortSignal
  /** Exit code of a command that did not fail. */
  exitCode: number
  /** Connects; whoever asks for it closes the client. @param options `start: false` for those who must not start a daemon */
  connect(options?: { readonly start?: boolean }): Promise<LoopatClient>
  /**
   * Connects, lets `use` work with the client, and disconnects.
   * @param options `start: false` for commands that must not start a daemon
   */
  withClient<T>(use: (client: LoopatClient) => Promise<T>, options?: { readonly start?: boolean }): Promise<T>
}
