/** The client: every method of the contract as a function, on one connection. */
import type { MethodName, ParamsOf, ResultOf } from '@loopatd/protocol'
import type { LoopatError } from '@loopatd/protocol/error'
import type { Call, OptionsOf, RequestParams } from './feature/call.ts'
import { DaemonFeature } from './feature/daemon.ts'
import { DoctorFeature } from './feature/doctor.ts'
import { EnvFeature } from './feature/env.ts'
import { EventFeature } from './feature/event.ts'
import { ExecFeature } from './feature/exec.ts'
import { HostFeature } from './feature/host.ts'
import { IdleFeature } from './feature/idle.ts'
import { ImageFeature } from './feature/image.ts'
import { JobFeature } from './feature/job.ts'
import { LoopFeature } from './feature/loop.ts'
import { PresenceFeature } from './feature/presence.ts'
import { VaultFeature } from './feature/vault.ts'
import type { NotificationListener, RequestOptions, RpcConnection } from './rpc.ts'
import { openStream, type RawStream } from './stream.ts'

/** What the daemon said in the handshake. */
export type ServerInfo = ResultOf<'initialize'>

/** A connection to the daemon. Made by `connect`. */
export class LoopatClient implements AsyncDisposable {
  readonly daemon: DaemonFeature
  readonly doctor: DoctorFeature
  readonly env: EnvFeature
  readonly event: EventFeature
  readonly exec: ExecFeature
  readonly host: HostFeature
  readonly idle: IdleFeature
  readonly image: ImageFeature
  readonly job: JobFeature
  readonly loop: LoopFeature
  readonly presence: PresenceFeature
  readonly vault: VaultFeature
  /** What the daemon said in the handshake. */
  readonly server: ServerInfo
  /** Path of the daemon's socket. */
  readonly socket: string
  readonly #rpc: RpcConnection

  constructor(rpc: RpcConnection, socket: string, server: ServerInfo) {
    this.#rpc = rpc
    this.socket = socket
    this.server = server
    const call: Call = (method, params, options) => this.#call(method, params, options)
    this.daemon = new DaemonFeature(call)
    this.doctor = new DoctorFeature(call)
    this.env = new EnvFeature(call)
    this.event = new EventFeature({
      call,
      onNotification: (listener) => rpc.onNotification(listener),
      closed: rpc.closed,
    })
    this.exec = new ExecFeature({ call, openStream: (options) => this.openStream(options) })
    this.host = new HostFeature(call)
    this.idle = new IdleFeature(call)
    this.image = new ImageFeature(call)
    this.job = new JobFeature(call)
    this.loop = new LoopFeature(call)
    this.presence = new PresenceFeature(call)
    this.vault = new VaultFeature(call)
  }

  /** Resolves with the reason when the connection is over, whoever ended it. Never rejects. */
  get closed(): Promise<LoopatError> {
    return this.#rpc.closed
  }

  /**
   * Sends any request of the contract.
   * @throws LoopatError what the daemon answers, or `daemon_unreachable` when the connection goes away
   */
  request<M extends MethodName>(method: M, params: RequestParams<M>, options?: OptionsOf<M>): Promise<ResultOf<M>> {
    return this.#call(method, params, options)
  }

  /** Sends a request of any name, with params as they are: for tools that take both from people. */
  call(method: string, params: object = {}, options?: Pick<RequestOptions, 'signal'>): Promise<unknown> {
    return this.#rpc.request(method, params, { signal: options?.signal })
  }

  /** The contract of the running daemon as an OpenRPC document. */
  discover(options?: OptionsOf<'rpc.discover'>): Promise<ResultOf<'rpc.discover'>> {
    return this.#call('rpc.discover', {}, options)
  }

  /** Opens a raw stream, to be named in the request that uses it. */
  openStream(options?: Pick<RequestOptions, 'signal'>): Promise<RawStream> {
    return openStream(this.socket, (signal) => this.#call('stream/open', {}, { signal }), options?.signal)
  }

  /** Calls the listener for every notification of the daemon. @returns stops listening */
  onNotification(listener: NotificationListener): () => void {
    return this.#rpc.onNotification(listener)
  }

  /** Ends the connection; what it asked for and was not answered is cancelled. Idempotent. */
  close(): Promise<void> {
    return this.#rpc.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #call<M extends MethodName>(
    method: M,
    params: RequestParams<M> | ParamsOf<M>,
    options?: RequestOptions,
  ): Promise<ResultOf<M>> {
    // The daemon answers as the contract says; checking it again would load the schemas.
    return (await this.#rpc.request(method, params, options)) as ResultOf<M>
  }
}
