import { PROTOCOL_VERSION, VERSION } from '@loopatd/protocol/version'
import type { Command } from 'commander'
import type { Context } from '../context.ts'

/** `loopctl version` */
export function configure(command: Command, context: Context): void {
  command.option('--json', 'one object').action((options: { json?: boolean }) => version(options, context))
}

/** Prints the version of this program. Asks no daemon. */
export function version({ json }: { json?: boolean }, { output }: Context): void {
  if (json) output.json({ version: VERSION, protocolVersion: PROTOCOL_VERSION, node: process.versions.node })
  else output.line(`loopctl ${VERSION}`)
}
