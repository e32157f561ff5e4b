import type { EngineEvent, EngineEventMessage, Labels } from '../../daemon/engine/engine.ts'

interface Follower {
  readonly labels: Labels
  readonly listener: (message: EngineEventMessage) => void
  connected: boolean
}

/** Reports whether `labels` holds every pair of `wanted`. */
export function carries(labels: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value)
}

/** The event stream of a fake engine. Events that happen while it is disconnected are replayed afterwards. */
export class FakeEvents {
  readonly #followers = new Set<Follower>()
  readonly #missed: EngineEvent[] = []
  #down = false
  #last = 0n

  /** @see Engine.watch */
  watch(labels: Labels, listener: (message: EngineEventMessage) => void): () => void {
    const follower: Follower = { labels, listener, connected: false }
    this.#followers.add(follower)
    queueMicrotask(() => this.#connect(follower))
    return () => void this.#followers.delete(follower)
  }

  /** Tells the followers of a container event. */
  emit(action: string, container: { id: string; name: string; labels: Labels }): void {
    const event: EngineEvent = {
      kind: 'container',
      action,
      id: container.id,
      name: container.name,
      labels: container.labels,
      timeNano: this.#now(),
    }
    if (this.#down) this.#missed.push(event)
    else this.#send(event)
  }

  /** Breaks the stream. */
  disconnect(reason: string): void {
    if (this.#down) return
    this.#down = true
    for (const follower of this.#followers) {
      if (follower.connected) follower.listener({ kind: 'disconnected', reason })
      follower.connected = false
    }
  }

  /** Mends the stream and replays what was missed. */
  reconnect(): void {
    if (!this.#down) return
    this.#down = false
    for (const follower of this.#followers) this.#connect(follower)
    for (const event of this.#missed.splice(0)) this.#send(event)
  }

  #connect(follower: Follower): void {
    if (this.#down || follower.connected || !this.#followers.has(follower)) return
    follower.connected = true
    follower.listener({ kind: 'connected' })
  }

  #send(event: EngineEvent): void {
    for (const follower of this.#followers) {
      if (follower.connected && carries(event.labels, follower.labels)) follower.listener(event)
    }
  }

  #now(): string {
    const now = BigInt(Date.now()) * 1_000_000n
    this.#last = now > this.#last ? now : this.#last + 1n
    return this.#last.toString()
  }
}
