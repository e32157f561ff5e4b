import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ApiRequest } from './docker.ts'
import { storeInfo } from './schema.ts'
import type { Glance } from './silence.ts'

const INFO: ApiRequest = { method: 'GET', path: '/v4.0.0/libpod/info', ok: [200] }

/** How long podman may take to say where its store is, in milliseconds. */
const INFO_MS = 60_000

/** How long one look waits for that, in milliseconds. */
const LOOK_MS = 500

/**
 * Tells whether anybody works in podman's store of images and layers: copies a layer for other user ids, which may take
 * minutes, imports or removes one. Whoever does so holds a lock on a file of the store, which the kernel shows to all;
 * podman itself has no word for it.
 *
 * Where the store is podman is asked once, and not again before it has answered: it runs a dozen programs to answer, goes
 * on with them when nobody waits any more, and takes long just when the host is so busy that many ask.
 */
export class StoreLock {
  readonly #glance: (request: ApiRequest, limitMs: number) => Promise<Glance>
  /** The locked file. */
  #path: string | undefined
  #search: Promise<void> | undefined

  constructor(glance: (request: ApiRequest, limitMs: number) => Promise<Glance>) {
    this.#glance = glance
  }

  /** Where the store cannot be seen, as when podman runs on another host, the benefit of the doubt is podman's. */
  async isHeld(): Promise<boolean> {
    if (this.#path === undefined) {
      this.#search ??= this.#find().finally(() => {
        this.#search = undefined
      })
      await Promise.race([this.#search, sleep(LOOK_MS, undefined, { ref: false })])
    }
    // Podman counts its images before it tells about itself, and so waits for the lock.
    if (this.#path === undefined) return true
    const [found, locks] = await Promise.all([
      unlessGone(stat(this.#path)),
      unlessGone(readFile('/proc/locks', 'utf8')),
    ])
    return found === undefined || locks === undefined || holdsLock(locks, found.ino)
  }

  async #find(): Promise<void> {
    const glance = await this.#glance(INFO, INFO_MS)
    const found = storeInfo.safeParse(glance.kind === 'answer' ? glance.answer : undefined)
    if (!found.success) return
    const { graphRoot, graphDriverName } = found.data.store
    this.#path = join(graphRoot, `${graphDriverName}-layers`, 'layers.lock')
  }
}

/**
 * Reports whether somebody has a lock on a file; who only waits for one has none. The device is not compared: what
 * stat(2) tells about some file systems is not what is shown here.
 * @param locks text of `/proc/locks`
 */
export function holdsLock(locks: string, inode: number): boolean {
  return locks.split('\n').some((line) => {
    const words = line.trim().split(/\s+/)
    return words[1] !== '->' && words[5]?.split(':')[2] === `${inode}`
  })
}

async function unlessGone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['ENOENT', 'EACCES', 'ENOTDIR'].includes(String(error.code))) {
      return undefined
    }
    throw error
  }
}
