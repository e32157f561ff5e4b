import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

/**
 * Bytes of buffers in this process, without those that nobody has any more.
 * @param many fewer are not looked at closely: then what waits to be collected is counted, too
 */
export function heldBytes(many = 0): number {
  const { arrayBuffers } = process.memoryUsage()
  if (arrayBuffers < many) return arrayBuffers
  // What the first one finds may be freed only later, but not after the second.
  collect()
  collect()
  return process.memoryUsage().arrayBuffers
}
