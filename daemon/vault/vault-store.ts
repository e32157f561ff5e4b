import type { Dirent } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { DEFAULT_VAULT, LoopatError, type VaultInfo, VaultName } from '@loopatd/protocol'
import { errorCode } from '../lib/error-code.ts'
import type { Logger } from '../log.ts'
import type { LoopVaults, VaultMount } from '../loop/loop-options.ts'
import { type Complaint, compareNames, type Fence, fenceOf, findVault } from './fence.ts'
import { fixSshModes } from './ssh-mode.ts'
import { readVaultEnv, type VaultEnv } from './vault-env.ts'
import { readVaultMounts, type VaultMounts } from './vault-mount.ts'
import { type EntryPath, makeVault, removeEntry, writeEntry } from './vault-write.ts'

/** What the store is made of. */
export interface VaultStoreOptions {
  /** Home of the workspace. */
  readonly home: string
  readonly log: Logger
  /**
   * Deletes a tree, also what loops made in it under other uids. Loops may write there meanwhile: links must not be
   * followed.
   */
  readonly removeTree: (path: string) => Promise<void>
}

const NO_ENV: VaultEnv = { values: new Map(), complaints: [] }
const NO_MOUNTS: VaultMounts = { mounts: [], complaints: [] }

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

  async require(user: string, vault: string, signal: AbortSignal): Promise<void> {
    await this.#find(user, vault, signal)
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

  /** Everything about a vault that may be told. @throws `vault_not_found`, `vault_invalid` */
  async describe(user: string, vault: string): Promise<Omit<VaultInfo, 'loops'>> {
    const { home } = this.#options
    const fence = await findVault(home, user, vault)
    if (fence === undefined && vault !== DEFAULT_VAULT) throw noVault(vault)
    const env = fence === undefined ? NO_ENV : await readVaultEnv(fence)
    const { mounts, complaints } = fence === undefined ? NO_MOUNTS : await readVaultMounts(fence)
    return {
      name: vault,
      path: fenceOf(home, user, vault).vault,
      env: [...env.values.keys()],
      home: mounts.map(({ name, kind }) => ({ name, kind })),
      warnings: [...env.complaints, ...complaints],
    }
  }

  /** Names of the vaults of a user, sorted: directories with the name of a vault (rule V-1). */
  async list(user: string): Promise<readonly string[]> {
    const { vaults } = fenceOf(this.#options.home, user, DEFAULT_VAULT)
    const names = (await entriesOf(vaults)).filter((entry) => entry.isDirectory()).map(({ name }) => name)
    return names.filter((name) => VaultName.safeParse(name).success).sort(compareNames)
  }

  /** Reports whether there is a vault. @throws `vault_invalid` */
  async has(user: string, vault: string): Promise<boolean> {
    return (await findVault(this.#options.home, user, vault)) !== undefined
  }

  /** Makes a vault. @returns whether it was not there. @throws `vault_invalid` */
  async create(user: string, vault: string): Promise<boolean> {
    return !(await this.has(user, vault)) && (await makeVault(this.#options.home, user, vault))
  }

  /**
   * Replaces a variable or a file. A missing vault `default` is made.
   * @returns whether there was something of this name
   * @throws `vault_not_found`, `vault_invalid`
   */
  async write(
    user: string,
    vault: string,
    { path, content }: { path: EntryPath; content: Uint8Array },
  ): Promise<boolean> {
    if (vault === DEFAULT_VAULT) await this.create(user, vault)
    return await writeEntry(await this.#get(user, vault), path, content)
  }

  /** Removes a variable, a file or an empty directory. @returns whether there was one. @throws as {@link write} */
  async unset(user: string, vault: string, path: EntryPath): Promise<boolean> {
    const fence = await findVault(this.#options.home, user, vault)
    if (fence === undefined && vault === DEFAULT_VAULT) return false
    return await removeEntry(await this.#get(user, vault), path)
  }

  /** Removes a vault with everything in it. @throws `vault_not_found`, `vault_invalid`, EngineError */
  async remove(user: string, vault: string): Promise<void> {
    const fence = await this.#get(user, vault)
    await this.#options.removeTree(fence.vault)
  }

  async #get(user: string, vault: string): Promise<Fence> {
    const fence = await findVault(this.#options.home, user, vault)
    if (fence === undefined) throw noVault(vault)
    return fence
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

async function entriesOf(directory: string): Promise<Dirent[]> {
  try {
    return await readdir(directory, { withFileTypes: true })
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return []
    throw error
  }
}
