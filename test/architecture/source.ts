import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Top of the checkout. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** One import of a source file. */
export interface Import {
  /** Path from the top, such as `daemon/server/session.ts`. */
  readonly from: string
  /** The same for a file of ours, else the package or `node:` name. */
  readonly to: string
  /** Whether it vanishes when compiled. */
  readonly typeOnly: boolean
}

const IMPORT = /(?:^|\n)\s*(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g

/** TypeScript files of a folder, built and installed ones left out. */
export function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !/(^|\/)(dist|node_modules)\//.test(path))
    .map((path) => join(folder, path))
    .sort()
}

/** Text of a file. */
export function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** Whether every name in the braces of an import is marked `type`. */
function namesOnlyTypes(statement: string): boolean {
  const names =
    /\{([^}]*)\}/
      .exec(statement)?.[1]
      ?.split(',')
      .filter((name) => name.trim() !== '') ?? []
  return names.length > 0 && names.every((name) => name.trim().startsWith('type '))
}

/** All imports of a file. */
export function importsOf(path: string): Import[] {
  return [...read(path).matchAll(IMPORT)].map((match) => {
    const target = match[2] ?? match[3] ?? ''
    const to = target.startsWith('.') ? relative(ROOT, resolve(ROOT, path, '..', target)) : target
    return { from: path, to, typeOnly: match[1] !== undefined || namesOnlyTypes(match[0]) }
  })
}
