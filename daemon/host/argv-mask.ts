/** Hides secrets in arguments before they are logged. Pure. */
import { redactUrls } from '../log.ts'

/** What is hidden whatever the configuration says. */
export const USUAL_MASKS: readonly string[] = [
  '--api-key *',
  '--api-key=*',
  '--auth *',
  '--auth=*',
  '--password *',
  '--password=*',
  '--passphrase *',
  '--passphrase=*',
  '--secret *',
  '--secret=*',
  '--token *',
  '--token=*',
  'authorization:*',
  'bearer *',
]

/** What stands in the place of a secret. */
const HIDDEN = '***'

/**
 * Makes a function that hides what follows the beginnings that are named, in small and capital letters alike: `--token=*`
 * the rest of the argument, `--token *` the next one. User information in URLs is hidden, too.
 */
export function maskWith(masks: readonly string[]): (argv: readonly string[]) => string[] {
  const heads = masks.filter((mask) => /[^ ]\*$/.test(mask)).map((mask) => mask.slice(0, -1).toLowerCase())
  const names = masks.filter((mask) => mask.endsWith(' *')).map((mask) => mask.slice(0, -2).trim().toLowerCase())
  const hide = (word: string) => {
    const head = heads.find((start) => word.toLowerCase().startsWith(start))
    const kept = head === undefined ? word : word.slice(0, head.length) + HIDDEN
    return redactUrls(kept)
  }
  return (argv) =>
    argv.map((word, index) => (names.includes((argv[index - 1] ?? '').toLowerCase()) ? HIDDEN : hide(word)))
}

/** Reports whether a text is a mask that {@link maskWith} understands. */
export function isMask(text: string): boolean {
  return /^[^*]*[^* ] ?\*$/.test(text)
}
