import type { LoopCause, LoopInfo } from '@loopatd/protocol'
import type { Engine } from '../engine/engine.ts'
import type { RepoAccess } from '../git/repo-access.ts'
import type { LeaseRegister } from '../idle/lease.ts'
import type { Clock } from '../lib/clock.ts'
import type { OnProgress } from '../lib/progress.ts'
import type { Logger } from '../log.ts'
import type { Paths } from '../paths.ts'
import type { LoopStore } from './loop-store.ts'
import type { LoopMounts } from './mount-fact.ts'

/** An image that is in the engine's store. */
export interface LoopImage {
  /** Fully qualified name. */
  readonly tag: string
  /** Plain hex. */
  readonly id: string
}

/** Images, as the loops need them. */
export interface LoopImages {
  /**
   * Makes sure that the sandbox image of the workspace is there; may build for minutes.
   * @throws `image_build_failed`, `image_unavailable`, `engine_unavailable`, `engine_failed`, or the signal's reason
   */
  ensure(onProgress: OnProgress, signal: AbortSignal): Promise<LoopImage>

  /** The same for an image that a loop names; fetches it when it is missing. */
  ensureNamed(image: string, onProgress: OnProgress, signal: AbortSignal): Promise<LoopImage>

  /**
   * Plain id of the image that {@link ensure} (without a name) or {@link ensureNamed} would give, as far as it is known
   * without asking the engine; undefined otherwise. A running loop is compared with this.
   */
  known(image?: string): string | undefined
}

/** A file or directory that a vault puts into the home of a loop. */
export interface VaultMount {
  /** Name in the home, one path component. */
  readonly name: string
  /** Real path on the host. */
  readonly source: string
  readonly kind: 'file' | 'directory'
}

/**
 * Vaults, as the loops need them. A vault named `default` that does not exist is empty. Entries that must not be
 * delivered are left out and logged.
 */
export interface LoopVaults {
  /** Makes sure that a vault can be selected. @throws as {@link env} */
  require(user: string, vault: string, signal: AbortSignal): Promise<void>

  /**
   * The variables of a vault, as they are now.
   * @param user checked id of the user whose vault it is
   * @param vault checked name
   * @throws `vault_not_found`, `vault_invalid`
   */
  env(user: string, vault: string, signal: AbortSignal): Promise<Readonly<Record<string, string>>>

  /**
   * What a vault puts into the home, sorted by name; none lies in another. The modes of ssh's files are mended.
   * @throws as {@link env}
   */
  homeMounts(user: string, vault: string, signal: AbortSignal): Promise<readonly VaultMount[]>
}

/** What runs the commands of a loop from within. */
export interface LoopAgents {
  /** Puts it into the loop's control directory, where the launcher of the container looks for it. */
  prepare(control: string): Promise<void>
  /** Ends what a daemon that was killed left running for its clients. @returns how many commands */
  adopt(containerPids: readonly number[]): Promise<number>
  /** The loop was started just now, and a command is to come. Returns at once. */
  expect(control: string): void
  /** The loop does not run any more. */
  forget(control: string): void
}

/** The way of loops to the host. */
export interface LoopHost {
  /** Puts what a loop needs for that into its control directory, before it starts. @throws the file system's error, `storage_failed` */
  prepare(id: string): Promise<void>
}

/** A loop was created, changed or removed. */
export interface LoopChange {
  readonly loop: LoopInfo
  readonly removed: boolean
  /** Why it woke, went to sleep or tries to; null for other changes. */
  readonly cause: LoopCause | null
}

/** Which starts may go on now. */
export interface StartAdmission {
  /**
   * Waits until a loop may be started; others may be put to sleep for it.
   * @returns to be disposed when it runs, or does not
   * @throws the reason of the signal
   */
  enter(
    request: {
      readonly id: string
      readonly name: string
      readonly isInteractive: boolean
      readonly onProgress: OnProgress
    },
    signal: AbortSignal,
  ): Promise<Disposable>
  /**
   * A person waits now for the start of a loop, whether it waits already or will.
   * @returns to be disposed when the person does not any more
   */
  promote(id: string): Disposable
}

/** What the loop service is made of. */
export interface LoopServiceOptions {
  readonly engine: Engine
  readonly store: LoopStore
  readonly images: LoopImages
  readonly repos: RepoAccess
  readonly vaults: LoopVaults
  /** Without them, the engine runs every command. */
  readonly agents?: LoopAgents
  /** Without it, no loop can run anything on the host. */
  readonly host?: LoopHost
  readonly leases: LeaseRegister
  /** Default: every start may go on at once. */
  readonly admission?: StartAdmission
  readonly clock: Clock
  readonly log: Logger
  readonly paths: Pick<Paths, 'home' | 'loops' | 'control'>
  /** Files of the host that loops may be given. */
  readonly mounts: LoopMounts
  /** Name of the workspace, as in labels. */
  readonly workspace: string
  /** Who new loops belong to. */
  readonly user: string
  /**
   * Whether the home did not exist before this start. Containers of loops that are not in it are then left alone: more
   * likely the home is on a disk that is not mounted than that all loops are gone.
   */
  readonly homeIsNew?: boolean
  /** Is told of every change, once. Must not throw. */
  readonly onChange: (change: LoopChange) => void
  /**
   * Is told of the run of a loop's container whenever it was looked at: what names that run, undefined when it does not
   * run. Must not throw.
   */
  readonly onContainer?: (loopId: string, run: string | undefined) => void
}
