/** What a user of a loop says about itself. */
export interface LoopUseRequest {
  /** Whether a stopped loop is started; when false, a stopped loop is an error. */
  readonly start: boolean
  /** What uses it: `exec`, `terminal`, `job` and others. */
  readonly owner: string
  /** For people, such as the command that runs. */
  readonly reason: string
  /** Asks the user to let go, because the loop is about to stop. Must not throw. */
  readonly end?: () => void
}

/** A running loop, kept awake until it is released. */
export interface LoopUse extends Disposable {
  readonly loopId: string
  readonly name: string
  /** Name of its container. */
  readonly container: string
  /** Path of the workdir inside. */
  readonly workdir: string
  /** Variables for every command in it. */
  readonly env: Readonly<Record<string, string>>
  /** Gives the loop back. Later calls do nothing. */
  release(): void
}
