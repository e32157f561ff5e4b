import type { LoopatClient } from '@loopatd/client'
import type { HostLogEntry } from '@loopatd/protocol'
import { formatDuration } from '@loopatd/protocol/duration'
import { type Colour, paint } from './colour.ts'
import type { Context } from './context.ts'
import { LoopNames } from './loop-names.ts'
import { bytes, commandLine, printable } from './text.ts'

/** Milliseconds that one request waits for more. */
const WAIT_MS = 30_000

const COLOURS: Readonly<Record<HostLogEntry['event'], Colour>> = {
  start: 'green',
  end: 'dim',
  deny: 'red',
  ask: 'yellow',
  limit: 'red',
}

/** What of the log is printed. */
export interface HostLogRequest {
  readonly loop: string | undefined
  /** How many entries from the end; default: what the daemon takes. */
  readonly lines: number | undefined
  /** Whether to go on until interrupted. */
  readonly follow: boolean
  readonly json: boolean
}

/** Prints the log of host commands. */
export async function printHostLog(client: LoopatClient, request: HostLogRequest, context: Context): Promise<void> {
  const { loop, lines, follow, json } = request
  const which = loop === undefined ? {} : { loop }
  const names = new LoopNames(client, context)
  const options = { signal: context.signal }
  let part = await client.host.log({ ...which, ...(lines === undefined ? {} : { limit: lines }) }, options)
  for (;;) {
    for (const entry of part.entries) {
      if (json) context.output.jsonLine(entry)
      else context.output.text(formatHostLogEntry(entry, await names.of(entry.loop), context.output.coloured))
    }
    if (!follow) return
    part = await client.host.log({ ...which, after: part.next, waitMs: WAIT_MS }, options)
  }
}

/**
 * An entry as a line for people: time, loop, what happened, the rule behind it, and last the command: whatever it
 * contains, nothing of ours comes after it.
 * @param loop name of the loop
 */
export function formatHostLogEntry(entry: HostLogEntry, loop: string, coloured: boolean): string {
  const style = (colour: Colour, text: string) => (coloured ? paint(colour, text) : text)
  const failed = entry.event === 'end' && (entry.code !== 0 || entry.reason !== null)
  const parts = [
    style('dim', printable(entry.time)),
    style('bold', printable(loop)),
    style(failed ? 'red' : COLOURS[entry.event], printable(whatHappened(entry))),
    style('dim', `[${printable(entry.rule)}]`),
    printable(commandLine(entry.argv)),
  ]
  return `${parts.join('  ').trimEnd()}\n`
}

/** `start`, `end 0 (1s, in 0 B, out 1.4 KiB)`, `end 124 (time limit, 1h, …)`, `deny 126`, `limit 37`. */
function whatHappened({ event, code, count, reason, durationMs, bytesIn, bytesOut }: HostLogEntry): string {
  const facts = [
    ...(reason === null ? [] : [reason]),
    ...(durationMs === null ? [] : [formatDuration(durationMs)]),
    ...(bytesIn === null ? [] : [`in ${bytes(bytesIn)}`]),
    ...(bytesOut === null ? [] : [`out ${bytes(bytesOut)}`]),
  ]
  const number = event === 'limit' ? count : code
  return `${event}${number === null ? '' : ` ${number}`}${facts.length === 0 ? '' : ` (${facts.join(', ')})`}`
}
