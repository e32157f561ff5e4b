/** What the store is made of. */
export interface LoopStoreOptions {
  /** Directory of all loops, `<home>/loops`. */
  readonly directory: string
  /** Deletes a tree of which parts belong to sub-uids; see `engine/podman/unshare.ts`. */
  readonly removeAsRoot: (path: string) => Promise<void>
}

/** Whether metadata can be written. */
export interface StorageState {
  readonly writable: boolean
  readonly reason: string | null
}

/** Loop metadata on disk. */
export class LoopStore {
  readonly #options: LoopStoreOptions

  constructor(options: LoopStoreOptions) {
    this.#options = options
  }

  /** Directory of all loops. */
  get directory(): string {
    return this.#options.directory
  }

  /** Whether the last write succeeded. */
  get storage(): StorageState {
    return { writable: true, reason: null }
  }
}
