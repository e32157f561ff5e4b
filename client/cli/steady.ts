import { setTimeout as sleep } from 'node:timers/promises'
import type { LoopatClient } from '@loopatd/client'
import { isLoopatError } from '@loopatd/protocol/error'
import type { Context } from './context.ts'

/** How long a daemon may be away before it is given up, in milliseconds: a restart takes a second or two. */
const AWAY_MS = 20_000
/** Time between two looks for it, in milliseconds. */
const LOOK_MS = 200

/** Asks the daemon something that changes nothing, so that it may be asked twice. */
export type Ask = <T>(question: (client: LoopatClient) => Promise<T>) => Promise<T>

/**
 * For what may take longer than a daemon lives: when it goes away in the midst of a question, the next one is asked. Nobody
 * starts that one from here, for somebody may have stopped the daemon.
 */
export async function withSteadyDaemon<T>(context: Context, use: (ask: Ask) => Promise<T>): Promise<T> {
  const daemon = new SteadyDaemon(context)
  try {
    return await use((question) => daemon.ask(question))
  } finally {
    await daemon.close()
  }
}

class SteadyDaemon {
  readonly #context: Context
  #client: Promise<LoopatClient>

  constructor(context: Context) {
    this.#context = context
    this.#client = context.connect()
  }

  async ask<T>(question: (client: LoopatClient) => Promise<T>): Promise<T> {
    for (;;) {
      const asked = this.#client
      const client = await asked
      try {
        return await question(client)
      } catch (error) {
        if (!isGone(error)) throw error
        // Of several questions, the first that fails looks for all.
        if (this.#client === asked) this.#client = this.#findNext(error)
      }
    }
  }

  async close(): Promise<void> {
    const [connected] = await Promise.allSettled([this.#client])
    if (connected.status === 'fulfilled') await connected.value.close()
  }

  /**
   * The connection to the last one is left to end by itself: other questions are still to be answered on it.
   * @throws what the last one was lost with, when no other comes in time
   */
  async #findNext(why: unknown): Promise<LoopatClient> {
    const { signal } = this.#context
    const deadline = performance.now() + AWAY_MS
    for (;;) {
      await sleep(LOOK_MS, undefined, { signal })
      try {
        return await this.#context.connect({ start: false })
      } catch (error) {
        if (!isGone(error)) throw error
        if (performance.now() > deadline) throw why
      }
    }
  }
}

function isGone(error: unknown): boolean {
  return isLoopatError(error, 'daemon_unreachable') || isLoopatError(error, 'daemon_stopping')
}
