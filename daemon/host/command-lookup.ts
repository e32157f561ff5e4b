import { constants } from 'node:fs'
import { access, lstat, readlink, stat } from 'node:fs/promises'
import { basename, delimiter, isAbsolute, join } from 'node:path'
import { LoopatError } from '@loopatd/protocol'
import { errorCode } from '../lib/error-code.ts'

/** Links that are followed on the way to a program; the kernel's own bound. */
const MAX_LINKS = 40

/** What a command is on the host. */
export interface HostProgram {
  /** Where it was found, under the name that it is called by. */
  readonly path: string
  /** The file that this leads to. */
  readonly program: string
}

/** Where commands are looked up. */
export interface CommandLookupOptions {
  /** Absolute directories, in order. */
  readonly path: readonly string[]
  /** Directories and files of the host that some loop can write. */
  readonly writable: () => Promise<readonly string[]>
}

/** Names a directory or file, whatever leads to it. */
type Spot = string

/** A way through the file system that can be relied on. */
interface Way {
  /** Where it leads; undefined when that is nowhere. */
  readonly real: string | undefined
  /** Everything on the way, as far as it goes, the end included. */
  readonly spots: readonly Spot[]
}

/**
 * Finds programs for loops. Nothing on the way to one may be written by a loop: no directory of the path, none that a
 * link leads through, and not the file itself. They are compared as the kernel sees them, so neither a link nor another
 * mount of the same directory hides one.
 */
export class CommandLookup {
  readonly #options: CommandLookupOptions

  constructor(options: CommandLookupOptions) {
    this.#options = options
  }

  /** What commands get as `PATH`. */
  get path(): string {
    return this.#options.path.join(delimiter)
  }

  /**
   * Looks a command up.
   * @param command a plain name, or an absolute path
   * @throws LoopatError `host_command_not_found`, `host_path_unsafe`
   */
  async find(command: string): Promise<HostProgram> {
    const spots = this.#writableSpots()
    const [writable] = await Promise.all([spots, this.#checkPath(spots)])
    const candidates = isAbsolute(command) ? [command] : this.#options.path.map((directory) => join(directory, command))
    for (const path of candidates) {
      const way = await walk(path)
      if (way.real === undefined || !(await isProgram(way.real))) continue
      await refuseWritable(way, writable, `the program ${path}`)
      return { path, program: way.real }
    }
    const where = isAbsolute(command) ? '' : ` in ${this.path}`
    throw new LoopatError('host_command_not_found', `the host has no program "${command}"${where}`, {
      next: isAbsolute(command) ? 'Check the path.' : 'Install it, grant it by its absolute path, or set host.path.',
      details: { command },
    })
  }

  /**
   * Makes sure that a program is what it was when it was granted.
   * @returns what is wrong; undefined when all is well
   */
  async check({ path, program }: HostProgram): Promise<string | undefined> {
    try {
      const spots = this.#writableSpots()
      const [writable, way] = await Promise.all([spots, walk(path), this.#checkPath(spots)])
      if (way.real === undefined || !(await isProgram(way.real))) return `${path} is not there any more`
      await refuseWritable(way, writable, `the program ${path}`)
      return way.real === program ? undefined : `${path} is not ${program} any more, as it was when it was granted`
    } catch (error) {
      if (error instanceof LoopatError) return error.message
      throw error
    }
  }

  /**
   * Programs that are run find others in it. A directory that is not there must not be one that a loop could make.
   * @throws LoopatError `host_path_unsafe`
   */
  async #checkPath(writable: Promise<ReadonlyMap<Spot, string>>): Promise<void> {
    const check = async (directory: string) => {
      const [way, spots] = await Promise.all([walk(directory), writable])
      await refuseWritable(way, spots, `${directory}, a directory of host.path,`)
    }
    await Promise.all(this.#options.path.map(check))
  }

  async #writableSpots(): Promise<Map<Spot, string>> {
    const places = await this.#options.writable()
    const spots = await Promise.all(places.map(spotOf))
    return new Map(places.flatMap((place, index) => (spots[index] === undefined ? [] : [[spots[index], place]])))
  }
}

/** The name that a command is called by inside. */
export function nameOf(command: string): string {
  return basename(command)
}

async function refuseWritable({ real, spots }: Way, writable: ReadonlyMap<Spot, string>, what: string): Promise<void> {
  const place = spots.map((spot) => writable.get(spot)).find((found) => found !== undefined)
  if (place !== undefined) throw unsafe(`${what} lies in ${place}, which loops can write`)
  if (real !== undefined && (await isOpenToAll(real))) throw unsafe(`${what} can be written by everybody`)
}

function unsafe(message: string): LoopatError {
  return new LoopatError('host_path_unsafe', message, {
    next: 'Mount it read-only, or name other directories in host.path of the configuration.',
  })
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK)
    return (await stat(path)).isFile()
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return false
  }
}

async function isOpenToAll(path: string): Promise<boolean> {
  return ((await stat(path)).mode & 0o002) !== 0
}

/** Goes a path name by name, following links as the kernel does. */
async function walk(path: string): Promise<Way> {
  const ahead = path.split('/').reverse()
  const spots: Spot[] = []
  let real = '/'
  let links = 0
  try {
    spots.push(await lookAt(real))
    for (let name = ahead.pop(); name !== undefined; name = ahead.pop()) {
      if (name === '' || name === '.') continue
      const next = join(real, name)
      const stats = await lstat(next, { bigint: true })
      if (stats.isSymbolicLink()) {
        links += 1
        if (links > MAX_LINKS) return { real: undefined, spots }
        const target = await readlink(next)
        if (isAbsolute(target)) real = '/'
        ahead.push(...target.split('/').reverse())
        continue
      }
      real = next
      spots.push(`${stats.dev}:${stats.ino}`)
    }
    return { real, spots }
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return { real: undefined, spots }
  }
}

async function spotOf(path: string): Promise<Spot | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true })
    return `${dev}:${ino}`
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return undefined
  }
}

async function lookAt(path: string): Promise<Spot> {
  const { dev, ino } = await lstat(path, { bigint: true })
  return `${dev}:${ino}`
}
