/**
 * Text from git, from remotes and from people, made fit to be shown: git passes on what a remote says, byte by byte.
 */

/** Most characters of foreign text in one message. */
const MAX_SHOWN = 300

/**
 * Foreign text as one line: control and direction characters are replaced, white space is squeezed, the rest is cut.
 * @param max most characters kept
 */
export function printable(text: string, max = MAX_SHOWN): string {
  const line = text
    .replace(/\s+/g, ' ')
    .replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu, '?')
    .trim()
  const characters = [...line]
  return characters.length <= max ? line : `${characters.slice(0, max - 1).join('')}…`
}

/** Takes user names with passwords, and tokens in their place, out of the addresses in a text. The user of ssh stays. */
export function redactUserInfo(text: string): string {
  return text
    .replace(/\b([A-Za-z][A-Za-z0-9+.-]*:\/\/)[^\s/@:]*:[^\s/]*@/g, '$1***@')
    .replace(/\b(https?:\/\/)[^\s/@]*@/gi, '$1***@')
}

/** Lines of git that say that something failed but not what. */
const GENERIC =
  /^(fatal: (could not read from remote repository|the remote end hung up|early eof|fetch-pack: )|please make sure you have|and the repository exists|hint:|error: unable to read askpass)/i

/**
 * The line of git's standard error that best tells a person what is wrong: the last `fatal:` or `error:` line that is
 * specific, else the last specific line, else anything. Progress is skipped.
 * @param stderr what git wrote, in the C locale
 */
export function meaningfulLine(stderr: string): string {
  const lines = stderr
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && parseProgress(line) === undefined)
  const specific = lines.filter((line) => !GENERIC.test(line))
  const best = specific.findLast((line) => /^(fatal|error):/.test(line)) ?? specific.at(-1) ?? lines.at(-1)
  return printable(redactUserInfo(best ?? '').replace(/^(fatal|error|remote): (error: )?/i, ''))
}

/** One step of git's progress. */
export interface GitProgress {
  /** Such as `Receiving objects`. */
  readonly stage: string
  readonly percent: number
}

/** Reads a progress line, such as `Receiving objects:  42% (21/50), 1.2 MiB`. */
export function parseProgress(line: string): GitProgress | undefined {
  const [, stage, percent] = /^(?:remote: )?([A-Z][A-Za-z ]{2,40}):\s+(\d{1,3})% \(\d+\/\d+\)/.exec(line) ?? []
  return stage === undefined ? undefined : { stage, percent: Number(percent) }
}
