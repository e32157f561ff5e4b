import type { OnProgress } from '../lib/progress.ts'

/** A running loop, kept awake and known to be in use until it is released. */
export interface LoopUse {
  readonly loopId: string
  /** Name of its container. */
  readonly container: string
  /** Host pid of the container's first process, as last known without asking the engine; 0 when it does not run. */
  readonly containerPid: () => number
  /** Workdir inside. */
  readonly workdir: string
  /** Plain variables of every command in this loop. */
  readonly env: Readonly<Record<string, string>>
  /** Variables of its vault. They must reach neither an argument nor the engine. */
  readonly secrets: Readonly<Record<string, string>>
  /** The loop's control directory on the host; inside it is `/loopat/control`, read-only. */
  readonly control: string
  release(): void
}

/** What commands need of the loops. */
export interface LoopAccess {
  /**
   * Resolves a loop reference, starts the loop when it is stopped and that is wanted, and takes a lease on it.
   * `end` is called when the loop is about to stop: the user must then let go of it.
   */
  use(
    ref: string,
    options: {
      readonly start: boolean
      readonly owner: string
      readonly reason: string
      /** Whether a person waits for it. */
      readonly interactive?: boolean
      readonly end?: () => void
    },
    onProgress: OnProgress,
    signal: AbortSignal,
  ): Promise<LoopUse>
}
