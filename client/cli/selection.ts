import { UsageError } from './exit.ts'

/**
 * Makes sure that either loops are named or the option that stands for many is given, and not both.
 * @throws UsageError
 */
export function chosen(
  loops: readonly string[],
  option: { readonly name: string; readonly given: boolean },
  command: string,
): void {
  if (loops.length > 0 && option.given) {
    throw new UsageError(`${command}: ${option.name} goes without loops`, `Run: loopctl ${command} ${option.name}`)
  }
  if (loops.length === 0 && !option.given) {
    throw new UsageError(
      `${command}: name a loop, or give ${option.name}`,
      'Run: loopctl ls to see the loops of this workspace',
    )
  }
}
