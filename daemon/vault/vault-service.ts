import { type CheckedParamsOf, isLoopatError, LoopatError, type ResultOf, type VaultInfo } from '@loopatd/protocol'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { Logger } from '../log.ts'
import { noVault, type VaultStore } from './vault-store.ts'
import { type EntryPath, envPath, homePath } from './vault-write.ts'

/** What the service is made of. */
export interface VaultServiceOptions {
  readonly store: VaultStore
  readonly loops: {
    /** Names of the loops that use a vault. */
    selecting(user: string, vault: string): Promise<readonly string[]>
    /** A vault was changed: what was found out about loops lately counts no more. */
    lookAgain(): void
  }
  /** Whose vaults these are. */
  readonly user: string
  readonly log: Logger
}

/** Vaults as clients see and change them. Changes of one vault happen one after the other. */
export class VaultService {
  readonly #options: VaultServiceOptions
  readonly #turns = new KeyedMutex()

  constructor(options: VaultServiceOptions) {
    this.#options = options
  }

  /** @see `vault/create` of the contract, as for all that follow */
  async create({ vault }: CheckedParamsOf<'vault/create'>, signal: AbortSignal): Promise<ResultOf<'vault/create'>> {
    const { store, user, log } = this.#options
    const created = await this.#change(vault, () => store.create(user, vault), signal)
    if (created) log.info({ vault }, 'created a vault')
    return { created }
  }

  async list(_params: CheckedParamsOf<'vault/list'>, signal: AbortSignal): Promise<ResultOf<'vault/list'>> {
    const vaults: VaultInfo[] = []
    for (const vault of await this.#options.store.list(this.#options.user)) {
      signal.throwIfAborted()
      const described = await this.#describeIfThere(vault)
      if (described !== undefined) vaults.push(described)
    }
    return { vaults }
  }

  async remove(
    { vault, force }: CheckedParamsOf<'vault/remove'>,
    signal: AbortSignal,
  ): Promise<ResultOf<'vault/remove'>> {
    const { store, user, loops, log } = this.#options
    const remove = async () => {
      if (!(await store.has(user, vault))) throw noVault(vault)
      const users = await loops.selecting(user, vault)
      if (users.length > 0 && !force) throw inUse(vault, users)
      await store.remove(user, vault)
    }
    await this.#change(vault, remove, signal)
    log.info({ vault }, 'removed a vault')
    return {}
  }

  async set(params: CheckedParamsOf<'vault/set'>, signal: AbortSignal): Promise<ResultOf<'vault/set'>> {
    const { store, user, log } = this.#options
    const { vault, value, content = '' } = params
    const path = entryOf(params)
    // Line ends behind a value are collapsed to one (rule V-6).
    const text =
      value === undefined ? Buffer.from(content, 'base64') : Buffer.from(`${value.replace(/[\r\n]+$/, '')}\n`)
    const replaced = await this.#change(vault, () => store.write(user, vault, { path, content: text }), signal)
    log.info({ vault, entry: path.join('/') }, 'changed an entry of a vault')
    return { replaced }
  }

  async show({ vault }: CheckedParamsOf<'vault/show'>, signal: AbortSignal): Promise<ResultOf<'vault/show'>> {
    signal.throwIfAborted()
    return { vault: await this.#describe(vault) }
  }

  async unset(params: CheckedParamsOf<'vault/unset'>, signal: AbortSignal): Promise<ResultOf<'vault/unset'>> {
    const { store, user, log } = this.#options
    const { vault } = params
    const path = entryOf(params)
    const removed = await this.#change(vault, () => store.unset(user, vault, path), signal)
    if (removed) log.info({ vault, entry: path.join('/') }, 'removed an entry of a vault')
    return { removed }
  }

  /** Changes one vault after whoever changes it now. */
  async #change<T>(vault: string, change: () => Promise<T>, signal: AbortSignal): Promise<T> {
    try {
      return await this.#turns.run(vault, change, signal)
    } finally {
      this.#options.loops.lookAgain()
    }
  }

  /** One that was removed or replaced since it was listed is none. */
  async #describeIfThere(vault: string): Promise<VaultInfo | undefined> {
    try {
      return await this.#describe(vault)
    } catch (error) {
      if (!isLoopatError(error, 'vault_invalid') && !isLoopatError(error, 'vault_not_found')) throw error
      return undefined
    }
  }

  async #describe(vault: string): Promise<VaultInfo> {
    const { store, loops, user } = this.#options
    return { ...(await store.describe(user, vault)), loops: [...(await loops.selecting(user, vault))] }
  }
}

/** The contract has one of the two. */
function entryOf({ env, home = '' }: { env?: string | undefined; home?: string | undefined }): EntryPath {
  return env === undefined ? homePath(home) : envPath(env)
}

function inUse(vault: string, loops: readonly string[]): LoopatError {
  const shown = loops.length > 5 ? `${loops.slice(0, 5).join(', ')} and ${loops.length - 5} more` : loops.join(', ')
  return new LoopatError('vault_in_use', `vault "${vault}" is used by ${shown}`, {
    next: `To remove it all the same, run: loopctl vault rm --force ${vault}`,
    details: { vault, loops },
  })
}
