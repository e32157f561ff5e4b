import { EngineError, type EngineErrorKind } from '../engine.ts'
import { ApiFailure } from './docker.ts'

/** Connection errors after which surely nothing was sent. */
const NOT_CONNECTED = new Set(['ECONNREFUSED', 'ENOENT', 'EACCES', 'ENOTSOCK', 'EPROTOTYPE'])

/** Podman's words for what callers may want to know, most specific first. Codes are no help: nearly all are 500. */
const WORDS: readonly (readonly [RegExp, EngineErrorKind])[] = [
  [/no space left on device|disk quota exceeded/i, 'storage_full'],
  [/address already in use|port is already allocated|cannot expose (?:privileged )?port/i, 'port_taken'],
  [
    /network not found|unable to find network|netns.*no such file|network namespace.*(?:not exist|no such)/i,
    'network_stale',
  ],
  [/(?:crun|runc): .*already exists|container with (?:given )?id .*already exists/i, 'runtime_stale'],
  // The second half of a start whose first half was another service's, which was killed in between.
  [/(?:crun|runc) start [0-9a-f]{64}` failed/i, 'runtime_stale'],
  [/(?:name|network) .*already (?:in use|used|exists)|already exists/i, 'name_taken'],
  [/error stat'ing file|cannot stat [`"]|statfs .*: no such file|mount.*no such file or directory/i, 'mount_missing'],
  [/image not known|no such image|cannot specify 64-byte hexadecimal/i, 'not_found'],
  [/no such container|no such network|no such exec session|no container with name/i, 'not_found'],
  [/network is being used|image (?:is )?(?:in use|used)|is in use by|image used by/i, 'in_use'],
  [/container state improper|is not running|can only create exec sessions on running/i, 'wrong_state'],
  [/did not die within timeout|cannot be (?:stopped|killed)/i, 'wrong_state'],
  [
    /initializing source|pinging container registry|manifest unknown|reading manifest|unable to pull/i,
    'image_unavailable',
  ],
]

/**
 * Turns what an API call threw into an {@link EngineError}. This file is the only place that reads podman's prose.
 * @param what the failed operation and its object, for the message: `start container x`
 */
export function toEngineError(error: unknown, what: string): EngineError {
  if (error instanceof EngineError) return error
  if (error instanceof ApiFailure) {
    const words = wordsOf(error.body)
    const kind = kindOf(words.text) ?? (error.statusCode === 404 ? 'not_found' : 'failed')
    return new EngineError(kind, `podman cannot ${what}: ${words.message || error.message}`, { cause: error })
  }
  if (error instanceof Error && 'code' in error && NOT_CONNECTED.has(String(error.code))) {
    return new EngineError('unavailable', `podman does not answer (${error.code}): ${what}`, { cause: error })
  }
  return new EngineError('connection_lost', `the connection to podman broke: ${what}`, { cause: error })
}

/** Id of the image that podman could not read and so answered nothing about any; undefined when something else went wrong. */
export function readBrokenImage(error: EngineError): string | undefined {
  return /locating item named "manifest" for image with ID "([0-9a-f]{64})"/.exec(error.message)?.[1]
}

/** Turns an error text inside a stream of progress into an {@link EngineError}. */
export function fromStreamError(text: string, what: string, otherwise: EngineErrorKind): EngineError {
  const kind = kindOf(text)
  const telling = kind === 'storage_full' || kind === 'image_unavailable' ? kind : otherwise
  return new EngineError(telling, `podman cannot ${what}: ${text.trim()}`)
}

/** What a runtime says on the output of a command that it could not start. */
const COMPLAINT = /^Error: (?:\S+ )?(?:crun|runc|OCI runtime)\b/

/** Reports whether the first output of a command may be the runtime's complaint instead. */
export function mayBeComplaint(output: string): boolean {
  return COMPLAINT.test(output)
}

/** Reports whether output is podman's own word that it lost the connection to a command, and with it perhaps the end of the output. */
export function mayBeCutOff(output: string): boolean {
  return /^Error: (?:read|write) unixpacket /.test(output)
}

/** A command as far as a complaint can be about it. */
export interface ComplainedCommand {
  readonly program: string
  readonly cwd: string | undefined
}

/**
 * Reads a runtime's complaint.
 * @returns undefined when it is not about this command, but the output of something that the command ran
 */
export function readComplaint(output: string, exitCode: number, command: ComplainedCommand): EngineError | undefined {
  if (exitCode < 125 || exitCode > 127 || !mayBeComplaint(output)) return undefined
  const cwd = /chdir(?: to(?: cwd)?)? \(?[`"]([^`"]*)[`"]/.exec(output)
  if (cwd !== null) {
    return new EngineError('directory_unusable', `the working directory ${cwd[1]} cannot be used in the container`)
  }
  // Podman's word for what it cannot tell apart, as that a working directory is none, and of many programs for much else.
  if (exitCode === 125) return undefined
  const missing = /executable file [`"]([^`"]*)[`"] not found|exec: "([^"]*)": (?:executable file not|stat )/.exec(
    output,
  )
  if (missing !== null) {
    const program = missing[1] ?? missing[2] ?? ''
    return program === command.program
      ? new EngineError('command_not_found', `${program} was not found in the container`)
      : undefined
  }
  if (/permission denied|operation not permitted|exec format error|is a directory/i.test(output)) {
    return new EngineError('not_executable', `${command.program} cannot be executed in the container`)
  }
  return undefined
}

function kindOf(text: string): EngineErrorKind | undefined {
  return WORDS.find(([pattern]) => pattern.test(text))?.[1]
}

/** Podman's answer: `cause` is the innermost error, `message` the whole chain. */
function wordsOf(answer: unknown): { message: string; text: string } {
  if (typeof answer === 'string') return { message: answer.trim(), text: answer }
  const body: { cause?: unknown; message?: unknown } = typeof answer === 'object' && answer !== null ? answer : {}
  const message = typeof body.message === 'string' ? body.message.trim() : ''
  const cause = typeof body.cause === 'string' ? body.cause : ''
  return { message: message || cause, text: `${cause}\n${message}` }
}
