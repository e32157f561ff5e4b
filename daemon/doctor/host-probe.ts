import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, readFile, stat, statfs } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Where distributions keep podman's helpers, beside `PATH`. */
const HELPER_DIRECTORIES = [
  '/usr/local/libexec/podman',
  '/usr/local/lib/podman',
  '/usr/libexec/podman',
  '/usr/lib/podman',
  '/usr/libexec/catatonit',
  '/usr/sbin',
  '/sbin',
]

/** Longest that a program may take to tell its version, in milliseconds. */
const VERSION_MS = 8_000

/** What the checks ask of the host; a stub in tests. */
export interface HostProbe {
  readonly uid: number
  readonly userName: string
  /** Path of a program in `PATH` or among podman's helpers. */
  which(program: string): Promise<string | undefined>
  /** First line that a program prints for `--version`, undefined when it does not run. */
  version(program: string): Promise<string | undefined>
  /** Content of a text file, undefined when it does not exist or cannot be read. */
  read(path: string): Promise<string | undefined>
  /** Owner and permission bits, undefined when it does not exist. */
  stat(path: string): Promise<{ readonly uid: number; readonly mode: number } | undefined>
  /** Whether the user may read and write it; undefined when it does not exist. */
  writable(path: string): Promise<boolean | undefined>
  /** Bytes that the user may still write to the file system of the path. */
  freeBytes(path: string): Promise<number>
}

/** Node's errors that mean "there is none, or none of our business". */
function isAbsent(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES' || code === 'EPERM'
}

async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

/** Asks this machine. @param env where to look for programs */
export function hostProbe(
  user: { uid: number; name: string },
  env: Readonly<Record<string, string | undefined>>,
): HostProbe {
  const directories = [...(env.PATH ?? '').split(delimiter), ...HELPER_DIRECTORIES].filter((path) =>
    path.startsWith('/'),
  )
  const which = async (program: string) => {
    for (const directory of directories) {
      const path = join(directory, program)
      if ((await orUndefined(access(path, constants.X_OK).then(() => true))) === true) return path
    }
    return undefined
  }
  return {
    uid: user.uid,
    userName: user.name,
    which,
    async version(program) {
      const path = await which(program)
      if (path === undefined) return undefined
      try {
        const { stdout } = await run(path, ['--version'], { timeout: VERSION_MS })
        return stdout.split('\n')[0]
      } catch (error) {
        // Whatever kept it from answering, a program that does not answer is not usable: that is the finding.
        return error instanceof Error ? undefined : Promise.reject(error)
      }
    },
    read: (path) => orUndefined(readFile(path, 'utf8')),
    stat: async (path) => {
      const found = await orUndefined(stat(path))
      return found === undefined ? undefined : { uid: found.uid, mode: found.mode & 0o7777 }
    },
    writable: async (path) => {
      if ((await orUndefined(stat(path))) === undefined) return undefined
      return (await orUndefined(access(path, constants.R_OK | constants.W_OK).then(() => true))) ?? false
    },
    freeBytes: async (path) => {
      const { bavail, bsize } = await statfs(path)
      return bavail * bsize
    },
  }
}
