import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { VaultStore } from '../../../daemon/vault/vault-store.ts'
import { type LogLine, memoryLog } from '../loop/kit.ts'

/** The user in these tests. */
export const USER = 'ada'

/** A home with vaults in a temporary directory, beside files that no vault must reach. Use it with `await using`. */
export class VaultHome implements AsyncDisposable {
  readonly home: string
  /** A file of the host outside the home. */
  readonly outside: string
  readonly store: VaultStore
  readonly lines: LogLine[] = []
  readonly #directory: string

  private constructor(directory: string) {
    this.#directory = directory
    this.home = join(directory, 'home')
    this.outside = join(directory, 'outside')
    this.store = new VaultStore({
      home: this.home,
      log: memoryLog(this.lines),
      removeTree: (path) => rm(path, { recursive: true }),
    })
  }

  static async open(): Promise<VaultHome> {
    const made = new VaultHome(await mkdtemp(join(tmpdir(), 'loopat-vault-')))
    await mkdir(made.home, { mode: 0o700 })
    await writeFile(made.outside, 'HOST SECRET\n')
    return made
  }

  /** `personal/ada` and what is in it. */
  personal(...path: string[]): string {
    return join(this.home, 'personal', USER, ...path)
  }

  /** A vault and what is in it. */
  vault(name: string, ...path: string[]): string {
    return this.personal('.loopat', 'vaults', name, ...path)
  }

  /** Writes a file with its directories, as people do by hand. */
  async write(path: string, content: string | Buffer = ''): Promise<string> {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, content)
    return path
  }

  /** Makes a directory with those above it. */
  async directory(path: string): Promise<string> {
    await mkdir(path, { recursive: true })
    return path
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true })
  }
}
