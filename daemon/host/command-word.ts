import { isUtf8 } from 'node:buffer'
import { join } from 'node:path'
import type { HostCommand } from './host-run.ts'

/** What a program is started with. */
export interface StartWords {
  readonly file: string
  readonly args: readonly string[]
}

/** Sets `PWD`, then becomes the program: `$1` the directory, `$2` the program, then its arguments. */
const BECOME = 'PWD=$1; export PWD; shift; exec "$@"'

/**
 * The same for words that are written for `printf %b`, as text that a system call can be given. The full stop keeps
 * newlines at the end, which the shell would take away. No word is ever looked at by the shell.
 */
const DECODE = `PWD=$1; export PWD; _loopat_path=$2; shift 2
for _loopat_word do
  shift
  case $_loopat_word in
    =*) _loopat_word=\${_loopat_word#=} ;;
    *) _loopat_word=$(printf '%b.' "$_loopat_word"); _loopat_word=\${_loopat_word%.} ;;
  esac
  set -- "$@" "$_loopat_word"
done
exec "$_loopat_path" "$@"`

/** The directory of a command as its user calls it. */
export function directoryOf({ directory }: HostCommand): string {
  return join(directory.from, ...directory.names)
}

/** Whether Node.js can pass the words on: it knows only text. */
export function isText({ argv }: HostCommand): boolean {
  return argv.every((word) => isUtf8(word))
}

/** The words by which a shell becomes the command, with `PWD` set and all bytes as they are. */
export function shellWords(command: HostCommand): StartWords {
  const [name = Buffer.alloc(0), ...args] = command.argv
  const given = [isUtf8(name) ? name.toString() : command.path, directoryOf(command), command.path]
  const words = isText(command)
    ? [BECOME, ...given, ...args.map((word) => word.toString())]
    : [DECODE, ...given, ...args.map((word) => (isUtf8(word) ? `=${word.toString()}` : escaped(word)))]
  return { file: '/bin/sh', args: ['-c', ...words] }
}

/** Never begins with `=`. */
function escaped(word: Buffer): string {
  return [...word].map(escapedByte).join('')
}

function escapedByte(byte: number): string {
  const plain = byte > 0x20 && byte < 0x7f && byte !== 0x5c && byte !== 0x3d
  return plain ? String.fromCharCode(byte) : `\\0${byte.toString(8).padStart(3, '0')}`
}
