import { Readable } from 'node:stream'
import { pack } from 'tar-stream'

/** One file of a build context. */
export interface ContextFile {
  /** Relative to the context, with `/`. */
  readonly path: string
  readonly executable: boolean
  readonly content: Buffer
}

/** Directories of the context that are there even when no file is in them: the recipe copies them. */
export const CONTEXT_DIRECTORIES = ['ca']

/**
 * Packs a build context as an uncompressed tar. Owner, time and mode depend on nothing but the files, so that the
 * engine's build cache finds equal ones again.
 */
export function packContext(files: readonly ContextFile[]): Readable {
  const tar = pack()
  const mtime = new Date(0)
  for (const name of CONTEXT_DIRECTORIES) tar.entry({ name: `${name}/`, type: 'directory', mode: 0o755, mtime })
  for (const { path, executable, content } of files) {
    tar.entry({ name: path, mode: executable ? 0o755 : 0o644, mtime }, content)
  }
  tar.finalize()
  return Readable.from(tar, { objectMode: false })
}
