import type { LoopInfo } from '@loopatd/protocol'
import type { Context } from './context.ts'

/** Prints loops that a command changed: their names, or all about them with `--json`. */
export function printChanged(
  loops: readonly LoopInfo[],
  { json }: { readonly json?: boolean },
  context: Context,
): void {
  if (json) context.output.json(loops)
  else for (const loop of loops) context.output.line(loop.name)
}
