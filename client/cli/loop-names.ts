import type { LoopatClient } from '@loopatd/client'
import type { Context } from './context.ts'
import { SHORT_ID } from './loop-table.ts'

/** Names of loops by their ids, asked for when they are needed. One that is gone is named by its short id. */
export class LoopNames {
  readonly #names = new Map<string, string>()
  readonly #client: LoopatClient
  readonly #context: Context

  constructor(client: LoopatClient, context: Context) {
    this.#client = client
    this.#context = context
  }

  async of(id: string): Promise<string> {
    const known = this.#names.get(id)
    if (known !== undefined) return known
    const { loops } = await this.#client.loop.list({ archived: 'include' }, { signal: this.#context.signal })
    for (const loop of loops) this.#names.set(loop.id, loop.name)
    const name = this.#names.get(id) ?? id.slice(0, SHORT_ID)
    this.#names.set(id, name)
    return name
  }
}
