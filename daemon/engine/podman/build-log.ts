import { EngineError, type EngineProgress } from '../engine.ts'
import { plainId } from './container.ts'
import { fromStreamError } from './error.ts'

/** How many of the last lines are kept for the error's message. */
const KEPT_LINES = 30

/** Reads the messages of a build. */
export class BuildLog {
  readonly #tag: string
  readonly #lines: string[] = []
  /** Names of the images that the stages begin with. */
  readonly bases = new Set<string>()
  #id: string | undefined

  /** @param tag what is built, for messages */
  constructor(tag: string) {
    this.#tag = tag
  }

  /**
   * Takes one message.
   * @returns progress worth telling
   * @throws EngineError when it is an error; podman sends those inside of an answer that says success
   */
  take(message: Readonly<Record<string, unknown>>): EngineProgress | undefined {
    const { stream, error, errorDetail, aux } = message
    if (error !== undefined || errorDetail !== undefined) {
      const text = typeof error === 'string' ? error : JSON.stringify(errorDetail)
      throw fromStreamError([...this.#lines, text.trim()].join('\n'), `build ${this.#tag}`, 'build_failed')
    }
    if (typeof aux === 'object' && aux !== null && 'ID' in aux && typeof aux.ID === 'string') this.#id = plainId(aux.ID)
    const line = typeof stream === 'string' ? stream.trimEnd() : ''
    if (line === '') return undefined
    this.#lines.push(line)
    if (this.#lines.length > KEPT_LINES) this.#lines.shift()
    return this.#toProgress(line)
  }

  /**
   * The plain id of the finished image.
   * @throws EngineError `connection_lost` when podman stopped without saying either success or failure
   */
  finish(): string {
    if (this.#id !== undefined) return this.#id
    throw new EngineError('connection_lost', `podman broke the build of ${this.#tag} off without an error`)
  }

  #toProgress(line: string): EngineProgress {
    const [, step, total, instruction = ''] = /^STEP (\d+)\/(\d+): (.*)$/s.exec(line) ?? []
    if (step === undefined || total === undefined) return { message: line }
    const base = /^FROM\s+(?:--\S+\s+)*(\S+)/i.exec(instruction)?.[1]
    if (base !== undefined) this.bases.add(base)
    return { message: instruction, step: Number(step), total: Number(total) }
  }
}
