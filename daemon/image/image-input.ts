/** Reads from the host what an image is made of: the shipped files, its authorities, its distribution. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LoopatError } from '@loopatd/protocol'
import type { ContextFile } from './build-context.ts'
import { CONTAINERFILE } from './image-recipe.ts'

/** Where administrators put authorities, on Debian, Fedora and Arch lineages. */
export const AUTHORITY_DIRECTORIES = [
  '/usr/local/share/ca-certificates',
  '/etc/pki/ca-trust/source/anchors',
  '/etc/ca-certificates/trust-source/anchors',
]

const MAX_AUTHORITY_BYTES = 1 << 20

/**
 * Reads the shipped files of the sandbox image, sorted by path.
 * @throws LoopatError `image_build_failed` when the Containerfile is missing
 */
export async function readTemplate(directory: string): Promise<ContextFile[]> {
  const files: ContextFile[] = []
  for (const path of await listFiles(directory)) {
    const full = join(directory, path)
    const { mode } = await stat(full)
    // Only this bit counts: the others depend on the umask of whoever checked the files out.
    files.push({ path, executable: (mode & 0o100) !== 0, content: await readFile(full) })
  }
  if (files.some((file) => file.path === CONTAINERFILE)) return files
  throw new LoopatError('image_build_failed', `${join(directory, CONTAINERFILE)} is missing`, {
    next: 'Install loopatd again: its templates are incomplete.',
  })
}

/**
 * Reads the certificates in `.crt` and `.pem` files under the directories, each on its own, without anything else that
 * such a file may hold (a private key, comments).
 * @param onUnreadable told about files that exist but may not be read; they are left out
 */
export async function readAuthorities(
  directories: readonly string[],
  onUnreadable: (path: string) => void,
): Promise<string[]> {
  const found = new Set<string>()
  for (const directory of directories) {
    for (const path of await listFiles(directory)) {
      if (!/\.(?:crt|pem)$/.test(path)) continue
      for (const certificate of await readCertificates(join(directory, path), onUnreadable)) found.add(certificate)
    }
  }
  return [...found].sort()
}

async function readCertificates(path: string, onUnreadable: (path: string) => void): Promise<string[]> {
  try {
    if ((await stat(path)).size > MAX_AUTHORITY_BYTES) return []
    const text = (await readFile(path, 'latin1')).replaceAll('\r\n', '\n')
    return text.match(/-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----/g) ?? []
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error
    onUnreadable(path)
    return []
  }
}

/** Files under a directory, links followed, sorted; none when there is no such directory. */
async function listFiles(directory: string): Promise<string[]> {
  const files: string[] = []
  for (const path of await unlessMissing(readdir(directory, { recursive: true }), [])) {
    const found = await unlessMissing(stat(join(directory, path)), undefined)
    if (found?.isFile() === true) files.push(path)
  }
  return files.sort()
}

/** The text of a file, or undefined when there is none. */
export async function readOptional(path: string): Promise<string | undefined> {
  return await unlessMissing(readFile(path, 'utf8'), undefined)
}

async function unlessMissing<T, U>(promise: Promise<T>, otherwise: U): Promise<T | U> {
  try {
    return await promise
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return otherwise
    throw error
  }
}
