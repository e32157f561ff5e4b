import type { NamedLoop } from './grant-book.ts'

/** What host commands need of the loops. */
export interface HostLoops {
  /** @throws LoopatError `loop_not_found`, `ambiguous_loop` */
  look(ref: string, signal: AbortSignal): Promise<NamedLoop>
  /** Ids of all loops. */
  ids(): Promise<readonly string[]>
  /** A loop by its id; undefined when it is no more, or cannot be read. */
  named(id: string): Promise<NamedLoop | undefined>
  /** Directories and files of the host that some loop can write, besides those of the workspace. */
  writable(): Promise<readonly string[]>
  /** The workdir of a loop on the host, and inside. */
  workdirOf(id: string): { readonly host: string; readonly inside: string }
  /** The control directory of a loop on the host. */
  controlOf(id: string): string
}
