/** TOML. The only importer of smol-toml. */
import { parse, TomlError } from 'smol-toml'

/** What keeps a text from being TOML, and where. */
export class TomlFault extends Error {
  readonly line: number

  constructor(message: string, line: number, cause: unknown) {
    super(message, { cause })
    this.line = line
  }
}

/**
 * Reads TOML.
 * @returns its table
 * @throws TomlFault when it is none
 */
export function parseToml(text: string): Readonly<Record<string, unknown>> {
  try {
    return parse(text)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const message = error.message.split('\n')[0] ?? 'not valid TOML'
    throw new TomlFault(message.replace(/^Invalid TOML document: /, ''), error.line, error)
  }
}
