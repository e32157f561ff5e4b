/** Longest line of a status pipe. */
const MAX_LINE = 64
const LINE = /^(?:r (\d{1,2}) ([01]) (\d{1,12})|s (\d{1,2}) (\d{1,12}) (\d{1,10})|x (\d{1,2}) (\d{1,12}) (\d{1,3}))$/

/** What an agent tells of a turn of one of its slots. */
export type AgentStatus =
  /** A shell waits at one of the slot's two pipes for commands. */
  | { readonly kind: 'ready'; readonly slot: number; readonly turn: string; readonly side: 0 | 1 }
  /** It has its command. */
  | { readonly kind: 'begun'; readonly slot: number; readonly turn: string; readonly pid: number }
  | { readonly kind: 'ended'; readonly slot: number; readonly turn: string; readonly code: number }

/** Reads what agents tell. Anybody inside can write into that pipe. */
export class AgentStatusReader {
  #rest = ''

  /** @returns one entry per line; undefined for a line that no agent writes */
  read(text: string): (AgentStatus | undefined)[] {
    const lines = (this.#rest + text).split('\n')
    this.#rest = (lines.pop() ?? '').slice(0, MAX_LINE + 1)
    return lines.map(parse)
  }
}

function parse(line: string): AgentStatus | undefined {
  const match = line.length <= MAX_LINE ? LINE.exec(line) : null
  if (match === null) return undefined
  const [, ready, side, readyTurn = '', begun, begunTurn = '', pid, ended, endedTurn = '', code] = match
  if (ready !== undefined) return { kind: 'ready', slot: Number(ready), turn: readyTurn, side: side === '1' ? 1 : 0 }
  if (begun !== undefined) return { kind: 'begun', slot: Number(begun), turn: begunTurn, pid: Number(pid) }
  return { kind: 'ended', slot: Number(ended), turn: endedTurn, code: Number(code) }
}
