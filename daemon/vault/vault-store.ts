import { DEFAULT_VAULT, LoopatError } from '@loopatd/protocol'
import type { Logger } from '../log.ts'
import type { LoopVaults, VaultMount } from '../loop/loop-options.ts'
import { type Complaint, type Fence, findVault } from './fence.ts'
import { fixSshModes } from './ssh-mode.ts'
import { readVaultEnv } from './vault-env.ts'
import { readVaultMounts } from './vault-mount.ts'

/** What the store is made of. */
export interface VaultStoreOptions {
  /** Home of the workspace. */
  readonly home: string
  readonly log: Logger
}

/**
 * Vaults as loops get them. Every byte in them may be hostile: they are edited by hand, and loops write what is mounted
 * from them. Values are read when they are wanted and kept nowhere.
 */
export class VaultStore implements LoopVaults {
  readonly #options: VaultStoreOptions
  /** What was complained about last, by vault and part of it: the same is not logged with every command. */
  readonly #told = new Map<string, string>()

  constructor(options: VaultStoreOptions) {
    this.#options = options
  }

  async env(user: string, vault: string, signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    const fence = await this.#find(user, vault, signal)
    if (fence === undefined) return {}
    const { values, complaints } = await readVaultEnv(fence)
    this.#tell(fence, 'envs', complaints)
    return Object.fromEntries(values)
  }

  async homeMounts(user: string, vault: string, signal: AbortSignal): Promise<readonly VaultMount[]> {
    const fence = await this.#find(user, vault, signal)
    if (fence === undefined) return []
    const { mounts, complaints } = await readVaultMounts(fence)
    await fixSshModes(mounts)
    this.#tell(fence, 'mounts', complaints)
    return mounts
  }

  async #find(user: string, vault: string, signal: AbortSignal): Promise<Fence | undefined> {
    signal.throwIfAborted()
    const fence = await findVault(this.#options.home, user, vault)
    if (fence === undefined && vault !== DEFAULT_VAULT) throw noVault(vault)
    return fence
  }

  #tell({ vault }: Fence, part: string, complaints: readonly Complaint[]): void {
    const key = `${vault} ${part}`
    const words = JSON.stringify(complaints)
    if ((this.#told.get(key) ?? '[]') === words) return
    this.#told.set(key, words)
    for (const { entry, target, why } of complaints) {
      this.#options.log.warn({ vault, entry, target }, `an entry of a vault is not delivered: it ${why}`)
    }
  }
}

/** The error for a vault that is not there. */
export function noVault(vault: string): LoopatError {
  return new LoopatError('vault_not_found', `there is no vault "${vault}"`, {
    next: `Run: loopctl vault create ${vault}`,
    details: { vault },
  })
}
