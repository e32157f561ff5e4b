import { EngineError, type Labels, type NetworkEngine, type NetworkSpec } from '../../daemon/engine/engine.ts'
import { carries } from './event.ts'
import type { FaultPlan } from './fault.ts'

/** The networks of a fake engine. */
export class FakeNetworks implements NetworkEngine {
  readonly #faults: FaultPlan
  readonly #isUsed: (name: string) => boolean
  readonly #networks = new Map<string, Labels>()

  /** @param isUsed reports whether a container uses the network */
  constructor(faults: FaultPlan, isUsed: (name: string) => boolean) {
    this.#faults = faults
    this.#isUsed = isUsed
  }

  /** Reports whether there is a network of this name. */
  has(name: string): boolean {
    return this.#networks.has(name)
  }

  /** Puts a network there. */
  add(name: string, labels: Labels = {}): void {
    this.#networks.set(name, labels)
  }

  ensure({ name, labels }: NetworkSpec, signal?: AbortSignal): Promise<void> {
    const body = () => {
      const present = this.#networks.get(name)
      if (present !== undefined && !carries(present, labels)) {
        throw new EngineError('name_taken', `network ${name} exists and is not ours`)
      }
      if (present === undefined) this.#networks.set(name, labels)
    }
    return this.#faults.run({ operation: 'network.ensure', subject: name, signal, body })
  }

  remove(name: string, signal?: AbortSignal): Promise<void> {
    const body = () => {
      if (this.#isUsed(name)) throw new EngineError('in_use', `network ${name} is used by a container`)
      this.#networks.delete(name)
    }
    return this.#faults.run({ operation: 'network.remove', subject: name, signal, body })
  }

  list(labels: Labels, signal?: AbortSignal): Promise<{ readonly name: string; readonly labels: Labels }[]> {
    const body = () =>
      [...this.#networks]
        .filter(([, present]) => carries(present, labels))
        .map(([name, present]) => ({ name, labels: present }))
    return this.#faults.run({ operation: 'network.list', subject: '', signal, body })
  }
}
