/** A variable as it is written on the command line. */
export interface Variable {
  readonly name: string
  /** Undefined when the name stands alone. */
  readonly value: string | undefined
}

/** Reads `NAME=VALUE` or `NAME`; undefined when the text is neither. */
export function readVariable(text: string): Variable | undefined {
  const [, name, value] = /^([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?$/s.exec(text) ?? []
  return name === undefined ? undefined : { name, value }
}
