import type { Context } from './context.ts'

/**
 * Says to the daemon whether a person waits: whoever sees messages on a terminal does. Their starts come before those of
 * scripts.
 */
export function interactive({ stderr }: Context): { readonly interactive?: true } {
  return stderr.isTTY === true ? { interactive: true } : {}
}
