import { LoopatError, MAX_CLIENT_LEASES } from '@loopatd/protocol'
import type { LeaseClient } from './idle-loops.ts'
import type { Lease, LeaseRegister, LeaseView } from './lease.ts'

/** What a client wants a lease for. */
export interface ClientLeaseRequest {
  readonly reason: string
  /** Milliseconds after which it ends unless it is renewed; undefined: with the connection. */
  readonly ttlMs: number | undefined
}

/** Leases of connections: each ends with its connection, at the latest. */
export class ClientLeases {
  readonly #register: LeaseRegister
  readonly #clients = new Map<string, Map<string, Lease>>()

  constructor(register: LeaseRegister) {
    this.#register = register
    register.watch(({ lease, isTaken }) => {
      if (!isTaken) for (const leases of this.#clients.values()) leases.delete(lease.id)
    })
  }

  /** @throws `too_many_requests`, `cancelled` when the connection is over */
  acquire(client: LeaseClient, loopId: string, { reason, ttlMs }: ClientLeaseRequest): LeaseView {
    const leases = this.#of(client)
    if (leases.size >= MAX_CLIENT_LEASES) {
      throw new LoopatError('too_many_requests', `a connection may hold ${MAX_CLIENT_LEASES} leases`, {
        next: 'Give one back with idle/release.',
      })
    }
    const ttl = ttlMs === undefined ? {} : { ttlMs }
    const lease = this.#register.acquire(loopId, { owner: 'client', reason, passive: true, ...ttl })
    leases.set(lease.id, lease)
    return this.#view(loopId, lease.id)
  }

  /** A lease of a client; undefined when it has none of this id. */
  find(client: LeaseClient, id: string): Lease | undefined {
    return this.#clients.get(client.id)?.get(id)
  }

  /** @throws `lease_not_found` when it has ended */
  renew(client: LeaseClient, id: string, ttlMs: number): LeaseView | undefined {
    this.find(client, id)?.renew(ttlMs)
    return this.#register.list().find((lease) => lease.id === id)
  }

  #view(loopId: string, id: string): LeaseView {
    const found = this.#register.list(loopId).find((lease) => lease.id === id)
    if (found === undefined) throw new LoopatError('internal', `lease ${id} is not there`)
    return found
  }

  #of(client: LeaseClient): Map<string, Lease> {
    const known = this.#clients.get(client.id)
    if (known !== undefined) return known
    const leases = new Map<string, Lease>()
    client.onEnd(() => {
      this.#clients.delete(client.id)
      for (const lease of leases.values()) lease.release()
    })
    this.#clients.set(client.id, leases)
    return leases
  }
}
