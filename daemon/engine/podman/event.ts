import { setTimeout as sleep } from 'node:timers/promises'
import { type EngineEvent, type EngineEventMessage, isEngineError, type Labels } from '../engine.ts'
import type { PodmanApi } from './api.ts'
import { parseLine, readLines } from './ndjson.ts'
import { event } from './schema.ts'

/** Pauses between attempts to connect, in milliseconds; the last one stays. */
const BACK_OFF_MS = [50, 100, 200, 500, 1000]

/**
 * Podman 5.1 and 5.2 send even the headers with the first event only. A request without an answer for so long, in
 * milliseconds, counts as connected; replay covers what may have happened meanwhile.
 */
const SILENCE_MS = 2000

/**
 * How long a request may stay without an answer, in milliseconds, until it is made again: perhaps nobody will ever answer
 * it, and replay tells what was missed.
 */
const RENEW_MS = 8000

/** The Docker-compatible API translates some actions, in some versions. */
const PODMAN_WORDS = new Map([
  ['die', 'died'],
  ['destroy', 'remove'],
])

/** How many events are remembered to tell replayed ones; a second's worth is enough. */
const REMEMBERED = 2000

/** Follows container events; see `Engine.watch`. Filters by type and labels alone: podman names some actions differently. */
export function watchEvents(
  api: PodmanApi,
  labels: Labels,
  listener: (message: EngineEventMessage) => void,
): () => void {
  const stop = new AbortController()
  const subscription = new Subscription(labels, (message) => {
    if (!stop.signal.aborted) listener(message)
  })
  void follow(api, subscription, stop.signal)
  return () => stop.abort()
}

async function follow(api: PodmanApi, subscription: Subscription, signal: AbortSignal): Promise<void> {
  for (let failures = 0; !signal.aborted; failures += 1) {
    const before = subscription.connections
    const reason = await followOnce(api, subscription, signal)
    if (signal.aborted) return
    if (reason !== undefined) subscription.disconnected(reason)
    if (subscription.connections > before) failures = 0
    await sleep(BACK_OFF_MS[Math.min(failures, BACK_OFF_MS.length - 1)])
  }
}

/** @returns why it ended, undefined when it is only to be made again */
async function followOnce(
  api: PodmanApi,
  subscription: Subscription,
  signal: AbortSignal,
): Promise<string | undefined> {
  const timer = new AbortController()
  const broken = new AbortController()
  const bothSignals = AbortSignal.any([signal, broken.signal])
  try {
    void connectAfterSilence(api, subscription, timer.signal).then((isForgotten) => {
      if (isForgotten) broken.abort()
    })
    const stream = await api.subscribe(subscription.request(), bothSignals)
    timer.abort()
    subscription.connected()
    for await (const line of readLines(stream)) subscription.take(line)
    return 'the event stream ended'
  } catch (error) {
    if (signal.aborted) return 'stopped'
    if (broken.signal.aborted) return undefined
    if (isEngineError(error)) return error.message
    throw error
  } finally {
    timer.abort()
    broken.abort()
  }
}

/** @returns whether podman is there, and yet left the request without an answer for so long that it is to be made again */
async function connectAfterSilence(
  api: PodmanApi,
  subscription: Subscription,
  answered: AbortSignal,
): Promise<boolean> {
  try {
    await sleep(SILENCE_MS, undefined, { signal: answered, ref: false })
    await api.ask({ method: 'GET', path: '/_ping', ok: [200], what: 'ping', repeatable: true }, answered)
    if (!answered.aborted) subscription.connected()
    await sleep(RENEW_MS - SILENCE_MS, undefined, { signal: answered, ref: false })
    return true
  } catch (error) {
    // Without podman, the request ends by itself.
    if (answered.aborted || isEngineError(error)) return false
    throw error
  }
}

/** What a follower has seen so far. */
class Subscription {
  /** How often it was connected. */
  connections = 0
  readonly #labels: Labels
  readonly #listener: (message: EngineEventMessage) => void
  readonly #seen = new Set<string>()
  /** Events before the subscription began are none of its business. */
  readonly #began = BigInt(Date.now()) * 1_000_000n
  #last = this.#began
  #isConnected = false

  constructor(labels: Labels, listener: (message: EngineEventMessage) => void) {
    this.#labels = labels
    this.#listener = listener
  }

  request() {
    const label = Object.entries(this.#labels).map(([name, value]) => `${name}=${value}`)
    // Podman counts in seconds, and includes the one named.
    const since = (this.#last / 1_000_000_000n - 1n).toString()
    const query = { since, filters: JSON.stringify({ type: ['container'], label }) }
    // As long as nothing happens there is nothing to answer.
    const isAtWork = () => Promise.resolve(true)
    const call = { method: 'GET', path: '/events', query, ok: [200], what: 'follow events', repeatable: true } as const
    return { ...call, isAtWork }
  }

  connected(): void {
    if (this.#isConnected) return
    this.#isConnected = true
    this.connections += 1
    this.#listener({ kind: 'connected' })
  }

  disconnected(reason: string): void {
    if (!this.#isConnected) return
    this.#isConnected = false
    this.#listener({ kind: 'disconnected', reason })
  }

  take(line: string): void {
    const message = readEvent(line)
    if (message === undefined) return
    const time = BigInt(message.timeNano)
    const key = `${message.timeNano} ${message.id} ${message.action}`
    if (time < this.#began || this.#seen.has(key)) return
    this.#remember(key)
    if (time > this.#last) this.#last = time
    this.#listener(message)
  }

  #remember(key: string): void {
    this.#seen.add(key)
    if (this.#seen.size <= REMEMBERED) return
    for (const oldest of this.#seen) {
      this.#seen.delete(oldest)
      return
    }
  }
}

/** Undefined for what is no event of a container. */
function readEvent(line: string): EngineEvent | undefined {
  const parsed = event.safeParse(parseLine(line))
  // Too big for a number: taken from the text. Inside a string the quotation mark would be escaped.
  const timeNano = /"timeNano":(\d+)/.exec(line)?.[1]
  if (!parsed.success || parsed.data.Type !== 'container' || timeNano === undefined) return undefined
  const { ID: id, Attributes: attributes } = parsed.data.Actor
  const { name = '', image: _image, ...labels } = attributes
  const action = parsed.data.Action.toLowerCase()
  return { kind: 'container', action: PODMAN_WORDS.get(action) ?? action, id, name, labels, timeNano }
}
