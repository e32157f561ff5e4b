import type { ExecControl } from '@loopatd/protocol'

const SIGNALS: readonly string[] = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2']
const MAX_SIZE = 4096

/**
 * What a caller may say on the control channel: the same as with a command in a loop. Written out, because a runner that
 * loaded the whole contract would take twice as long to be there.
 * @throws RangeError when it is nothing of that
 */
export function checkHostControl(value: unknown): ExecControl {
  if (!isRecord(value)) throw new RangeError('a control message is no object')
  const { type, ...rest } = value
  const keys = Object.keys(rest).sort().join()
  if (type === 'signal' && keys === 'signal' && isSignal(rest.signal)) return { type, signal: rest.signal }
  if (type === 'resize' && keys === 'cols,rows' && isSize(rest.cols) && isSize(rest.rows)) {
    return { type, cols: rest.cols, rows: rest.rows }
  }
  throw new RangeError('a control message has an unknown form')
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isSignal(value: unknown): value is Extract<ExecControl, { type: 'signal' }>['signal'] {
  return typeof value === 'string' && SIGNALS.includes(value)
}

function isSize(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_SIZE
}
