import { setImmediate as turn } from 'node:timers/promises'
import { CHANNEL, encodeFrame } from '@loopatd/protocol/frame'

/** What a caller says it wants. */
export interface Wanted {
  readonly argv: readonly (string | Buffer)[]
  readonly cwd?: string | Buffer
  readonly size?: string
  readonly env?: readonly string[]
}

/** Payload of the first frame of a caller. */
export function requestPayload({ argv, cwd = '/work', size = '', env = [] }: Wanted): Buffer {
  const fields = ['run', '1', cwd, size, ...env, '', ...argv].map((field) => Buffer.from(field))
  return Buffer.concat(fields.flatMap((field, index) => (index === 0 ? [field] : [Buffer.from([0]), field])))
}

/** The whole frame. */
export function requestFrame(wanted: Wanted): Buffer {
  return encodeFrame(CHANNEL.control, requestPayload(wanted))
}

/** Lets everything happen that waits for nothing but its turn. */
export async function turns(count = 5): Promise<void> {
  for (let left = count; left > 0; left -= 1) await turn()
}
