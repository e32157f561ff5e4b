/** What the transport needs of the services behind it. Each method is the one of the contract with the same name. */
import type { CheckedParamsOf, MethodName, ResultOf } from '@loopatd/protocol'
import type { ExecIo } from '../exec/exec-io.ts'
import type { LeaseClient } from '../idle/idle-loops.ts'
import type { OnProgress } from '../lib/progress.ts'

/** A method that answers soon. */
export type Quick<M extends MethodName> = (params: CheckedParamsOf<M>, signal: AbortSignal) => Promise<ResultOf<M>>

/** A method that reports progress. */
export type Long<M extends MethodName> = (
  params: CheckedParamsOf<M>,
  onProgress: OnProgress,
  signal: AbortSignal,
) => Promise<ResultOf<M>>

/** A method whose effect belongs to the connection that it came by. */
export type Owned<M extends MethodName> = (
  params: CheckedParamsOf<M>,
  client: LeaseClient,
  signal: AbortSignal,
) => Promise<ResultOf<M>>

/** The services, by the room they live in. */
export interface Services {
  readonly daemon: {
    readonly shutdown: Quick<'daemon/shutdown'>
    readonly status: Quick<'daemon/status'>
  }
  readonly doctor: { readonly run: Quick<'doctor/run'> }
  readonly exec: {
    /** @param io the client's streams, or undefined to collect the output */
    readonly run: (
      params: CheckedParamsOf<'exec/run'>,
      io: ExecIo | undefined,
      onProgress: OnProgress,
      signal: AbortSignal,
    ) => Promise<ResultOf<'exec/run'>>
  }
  readonly host: {
    readonly approve: Quick<'host/approve'>
    readonly deny: Quick<'host/deny'>
    readonly grant: Quick<'host/grant'>
    readonly list: Quick<'host/list'>
    readonly log: Quick<'host/log'>
    readonly pending: Quick<'host/pending'>
    readonly revoke: Quick<'host/revoke'>
  }
  readonly idle: {
    readonly acquire: Owned<'idle/acquire'>
    readonly hold: Quick<'idle/hold'>
    readonly list: Quick<'idle/list'>
    readonly release: Owned<'idle/release'>
    readonly renew: Owned<'idle/renew'>
    readonly set: Quick<'idle/set'>
    readonly why: Quick<'idle/why'>
  }
  readonly image: {
    readonly build: Long<'image/build'>
    readonly status: Quick<'image/status'>
  }
  readonly job: {
    readonly get: Quick<'job/get'>
    readonly kill: Quick<'job/kill'>
    readonly list: Quick<'job/list'>
    readonly logs: Quick<'job/logs'>
    readonly remove: Quick<'job/remove'>
    readonly start: Long<'job/start'>
    readonly wait: Quick<'job/wait'>
  }
  readonly loop: {
    readonly archive: Quick<'loop/archive'>
    readonly create: Long<'loop/create'>
    readonly get: Quick<'loop/get'>
    readonly inspect: Quick<'loop/inspect'>
    readonly list: Quick<'loop/list'>
    readonly listEnv: Quick<'env/list'>
    readonly plan: Quick<'loop/plan'>
    readonly remove: Long<'loop/remove'>
    readonly rename: Quick<'loop/rename'>
    readonly restart: Long<'loop/restart'>
    readonly setEnv: Quick<'env/set'>
    readonly start: Long<'loop/start'>
    readonly stop: Quick<'loop/stop'>
    readonly unarchive: Quick<'loop/unarchive'>
    readonly unsetEnv: Quick<'env/unset'>
    readonly update: Long<'loop/update'>
  }
  readonly vault: {
    readonly create: Quick<'vault/create'>
    readonly list: Quick<'vault/list'>
    readonly remove: Quick<'vault/remove'>
    readonly set: Quick<'vault/set'>
    readonly show: Quick<'vault/show'>
    readonly unset: Quick<'vault/unset'>
  }
}
