import { text } from 'node:stream/consumers'
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { UsageError } from '../exit.ts'

/** `loopctl rpc` */
export function configure(command: Command, context: Context): void {
  command
    .argument('[method]', 'method to call, such as loop/list')
    .argument('[params]', 'its parameters as a JSON object, or "-" to read them from stdin (default: {})')
    .option('--discover', 'print the contract as an OpenRPC document')
    .action((method: string | undefined, params: string | undefined, options: { discover?: boolean }) =>
      rpc({ method, params, discover: options.discover === true }, context),
    )
}

interface Call {
  readonly method: string | undefined
  readonly params: string | undefined
  readonly discover: boolean
}

async function rpc({ method, params, discover }: Call, context: Context): Promise<void> {
  if ((method === undefined) !== discover) {
    throw new UsageError('rpc: name a method, or give --discover', 'Run: loopctl rpc METHOD [JSON]')
  }
  const words = params === '-' ? await text(context.stdin) : (params ?? '{}')
  const wanted = { name: method ?? 'rpc.discover', params: parse(words) }
  const result = await context.withClient((client) =>
    client.call(wanted.name, wanted.params, { signal: context.signal }),
  )
  context.output.json(result)
}

function parse(words: string): object {
  let value: unknown
  try {
    value = JSON.parse(words)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new UsageError(
      `rpc: the parameters are not JSON: ${error.message}`,
      'Give an object, such as \'{"loop":"x"}\'.',
    )
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new UsageError('rpc: the parameters must be a JSON object', 'Give them by name, such as \'{"loop":"x"}\'.')
  }
  return value
}
