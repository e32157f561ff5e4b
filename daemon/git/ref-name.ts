import { LoopatError } from '@loopatd/protocol/error'
import { printable } from './git-text.ts'

/**
 * Reports whether a name is well-formed as git sees it (the rules of `git check-ref-format --branch`), and is none that
 * git could take for an option or a revision expression.
 */
export function isRefName(name: string): boolean {
  if (name === '' || name === '@' || Buffer.byteLength(name) > 255) return false
  if (name.startsWith('-') || name.endsWith('.')) return false
  if (/[\p{Cc} ~^:?*[\\]|\.\.|@\{/u.test(name)) return false
  return name.split('/').every((part) => part !== '' && !part.startsWith('.') && !part.endsWith('.lock'))
}

/**
 * Checks the name of a branch, tag or commit that somebody asked for.
 * @throws `repo_invalid`
 */
export function checkRef(ref: string): void {
  if (isRefName(ref)) return
  throw new LoopatError('repo_invalid', `'${printable(ref)}' is not the name of a branch, tag or commit`, {
    next: 'Name a branch or a tag of the repository, or a commit id.',
    details: { ref: printable(ref) },
  })
}
