/** Finds where a key stands in a TOML text, which the parser does not tell. Pure. */

const HEADER = /^\s*\[(\[)?\s*([^\]]+?)\s*\]/
const ASSIGNMENT = /^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=/

function parts(dotted: string): string[] {
  return dotted.split('.').map((part) => part.trim().replace(/^(["'])(.*)\1$/, '$2'))
}

/**
 * Line of a key, 1-based: of its assignment, else of the closest table header or assignment that holds it.
 * @param text a document that the parser accepted
 * @param key path of names and array indexes, as a schema reports it
 */
export function lineOfKey(text: string, key: readonly PropertyKey[]): number | undefined {
  const wanted = key.map(String)
  const counts = new Map<string, number>()
  let table: string[] = []
  let best: { line: number; length: number } | undefined
  for (const [index, line] of text.split('\n').entries()) {
    const header = HEADER.exec(line)
    const assignment = header === null ? ASSIGNMENT.exec(line) : null
    if (header?.[2] !== undefined) {
      table = parts(header[2])
      if (header[1] !== undefined) {
        const name = table.join('.')
        const count = counts.get(name) ?? 0
        counts.set(name, count + 1)
        table = [...table, String(count)]
      }
    }
    if (header === null && assignment?.[1] === undefined) continue
    const here = assignment?.[1] === undefined ? table : [...table, ...parts(assignment[1])]
    const isPrefix = here.length <= wanted.length && here.every((part, at) => part === wanted[at])
    if (isPrefix && here.length > (best?.length ?? 0)) best = { line: index + 1, length: here.length }
  }
  return best?.line
}
