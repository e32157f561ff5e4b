/**
 * Waits for `promise`, or until the signal aborts. The promise itself is not cancelled; its late failure is not lost
 * to the process, since it is observed here.
 * @throws the reason of the signal
 */
export async function abortable<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return promise
  // Nobody waits for it after an abort; without an observer its failure would end the process.
  promise.catch(() => undefined)
  signal.throwIfAborted()
  let stopListening: () => void = () => undefined
  const aborted = new Promise<never>((_resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    stopListening = () => signal.removeEventListener('abort', onAbort)
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    stopListening()
  }
}

/** Joins signals, of which some may be missing; undefined when none is there. */
export function anySignal(...signals: (AbortSignal | undefined)[]): AbortSignal | undefined {
  const present = signals.filter((signal) => signal !== undefined)
  return present.length > 1 ? AbortSignal.any(present) : present[0]
}
