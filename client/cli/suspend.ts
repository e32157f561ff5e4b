import { setTimeout as sleep } from 'node:timers/promises'
import type { LoopatClient } from '@loopatd/client'
import { LoopatError } from '@loopatd/protocol/error'
import type { Context } from './context.ts'
import type { Terminal } from './terminal.ts'

/** How long the daemon may take to hear of it, in milliseconds. */
const SAY_MS = 500

/**
 * Keeps the command of a person who presses Ctrl-Z: the daemon takes a client that is stopped for a dead one, unless it has
 * said so before.
 * @returns stops that
 */
export function announceSuspension(client: LoopatClient, terminal: Terminal | undefined, context: Context): () => void {
  return context.onSuspend(
    async () => {
      await Promise.race([say(client, true), sleep(SAY_MS)])
      terminal?.lend()
    },
    () => {
      terminal?.takeBack()
      void say(client, false)
    },
  )
}

/** One who does not understand, or is gone, keeps nobody from being stopped. */
async function say(client: LoopatClient, away: boolean): Promise<void> {
  try {
    await client.presence.set({ away })
  } catch (error) {
    if (!(error instanceof LoopatError)) throw error
  }
}
