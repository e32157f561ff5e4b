/** A promise with its resolvers, as `Promise.withResolvers` makes on newer runtimes. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (reason: unknown) => void
}

/** Makes a {@link Deferred}. */
export function deferred<T>(): Deferred<T> {
  const made: { resolve?: (value: T) => void; reject?: (reason: unknown) => void } = {}
  const promise = new Promise<T>((resolve, reject) => Object.assign(made, { resolve, reject }))
  return { promise, resolve: (value) => made.resolve?.(value), reject: (reason) => made.reject?.(reason) }
}
