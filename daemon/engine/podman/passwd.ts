import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { extract, pack } from 'tar-stream'
import { type ContainerSpec, isEngineError } from '../engine.ts'
import type { PodmanApi } from './api.ts'
import { isAtWorkOn } from './container-work.ts'
import { pathOf } from './docker.ts'

/** More than any list of users. */
const MAX_BYTES = 262_144
/** Programs ask it for the home of a user, whatever `$HOME` says. */
const FILE = '/etc/passwd'

type User = NonNullable<ContainerSpec['account']> & ContainerSpec['keepId']

/**
 * Sees to it that the mapped user is known inside, with its home: podman makes an entry with its number for a name and
 * the working directory for a home. What an image needs is found out once.
 */
export class PasswdEntries {
  readonly #api: PodmanApi
  /** What an image's file is to be replaced with, by id of the image; undefined when it may stay. */
  readonly #byImage = new Map<string, string | undefined>()

  constructor(api: PodmanApi) {
    this.#api = api
  }

  /**
   * Mends the entry in a container that was created and not started. An image whose file is none keeps it.
   * @throws EngineError
   */
  async mend(container: string, imageId: string, user: User, signal?: AbortSignal): Promise<void> {
    if (!this.#byImage.has(imageId)) {
      const text = await this.#read(container, signal)
      this.#byImage.set(imageId, text === undefined ? undefined : withUser(text, user))
    }
    const text = this.#byImage.get(imageId)
    try {
      if (text !== undefined) await this.#write(container, text, signal)
    } catch (error) {
      // An image without a place for it; podman's own entry has to do.
      if (!isEngineError(error, 'failed', 'not_found')) throw error
    }
  }

  /** @returns undefined when it is no file of a usual size */
  async #read(container: string, signal: AbortSignal | undefined): Promise<string | undefined> {
    const path = `/containers${pathOf(container)}/archive`
    const what = `read ${FILE} of container ${container}`
    const isAtWork = isAtWorkOn(container)
    try {
      const call = { method: 'GET', path, query: { path: FILE }, ok: [200], what, repeatable: true, isAtWork } as const
      return await onlyFile(await this.#api.stream(call, signal))
    } catch (error) {
      if (isEngineError(error, 'not_found')) return ''
      throw error
    }
  }

  async #write(container: string, text: string, signal: AbortSignal | undefined): Promise<void> {
    const tar = pack()
    tar.entry({ name: 'passwd', mode: 0o644, uid: 0, gid: 0 }, text)
    tar.finalize()
    const path = `/containers${pathOf(container)}/archive`
    const what = `write ${FILE} of container ${container}`
    const upload = Readable.from(tar)
    const isAtWork = isAtWorkOn(container)
    const query = { path: '/etc' }
    await this.#api.call({ method: 'PUT', path, query, upload, ok: [200], what, repeatable: false, isAtWork }, signal)
  }
}

/**
 * The list of users with the entry that is wanted; undefined when it has that already. Pure.
 * @param text of `/etc/passwd`
 */
export function withUser(text: string, { uid, gid, name, home }: User): string | undefined {
  const lines = text.split('\n').filter((line) => line !== '')
  const entries = lines.map((line) => line.split(':'))
  const own = entries.find((fields) => fields[2] === String(uid))
  if (own?.[5] === home) return undefined
  const others = entries.filter((fields) => fields !== own)
  const isFree = !others.some((fields) => fields[0] === name)
  const entry = [own?.[0] ?? (isFree ? name : `${name}-${uid}`), 'x', uid, gid, name, home, own?.[6] ?? '/bin/sh']
  return [...others, entry].map((fields) => `${fields.join(':')}\n`).join('')
}

/** The text of the only file in a tar from a container; undefined when it holds anything else. */
async function onlyFile(tar: Readable): Promise<string | undefined> {
  const texts: (string | undefined)[] = []
  const reader = extract()
  reader.on('entry', (header, stream, next) => {
    const isText = header.type === 'file' && (header.size ?? 0) <= MAX_BYTES
    const chunks: Buffer[] = []
    stream.on('data', (chunk) => {
      if (isText && Buffer.isBuffer(chunk)) chunks.push(chunk)
    })
    stream.on('end', () => {
      texts.push(isText ? Buffer.concat(chunks).toString() : undefined)
      next()
    })
  })
  await pipeline(tar, reader)
  return texts.length === 1 ? texts[0] : undefined
}
