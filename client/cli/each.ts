import type { Context } from './context.ts'
import { exitCodeOf } from './exit.ts'

/** Requests in flight at a time: well below what the daemon lets one client have. */
const AT_ONCE = 8

/**
 * Does the same to several loops. One that fails keeps no other from being tried: its error is printed, and the exit
 * code is that of the first failure. A single loop's error is thrown as it is.
 * @param loops loop references; the same one twice counts once
 * @returns what succeeded, in the order of the loops
 */
export async function forEachLoop<T>(
  context: Context,
  loops: readonly string[],
  work: (loop: string) => Promise<T>,
): Promise<T[]> {
  const wanted = [...new Set(loops)]
  const [only] = wanted
  if (only !== undefined && wanted.length === 1) return [await work(only)]
  const outcomes = new Map<string, PromiseSettledResult<T>>()
  const queue = wanted.values()
  const worker = async () => {
    for (const loop of queue) {
      const [outcome] = await Promise.allSettled([work(loop)])
      outcomes.set(loop, outcome)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return succeeded(
    context,
    wanted.map((loop) => outcomes.get(loop)),
  )
}

function succeeded<T>(context: Context, outcomes: readonly (PromiseSettledResult<T> | undefined)[]): T[] {
  const values: T[] = []
  for (const outcome of outcomes) {
    if (outcome?.status === 'fulfilled') values.push(outcome.value)
    if (outcome?.status !== 'rejected') continue
    context.output.error(outcome.reason)
    if (context.exitCode === 0) context.exitCode = exitCodeOf(outcome.reason, undefined)
  }
  return values
}
