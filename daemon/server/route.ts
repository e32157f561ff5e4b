/** Which service answers which method. */
import type { CheckedParamsOf, MethodName, ResultOf } from '@loopatd/protocol'
import type { OnProgress } from '../lib/progress.ts'
import type { Discovery } from './discovery.ts'
import type { EventFilter } from './event-hub.ts'
import type { Services } from './services.ts'
import type { ExecStream } from './stream-register.ts'

/** Methods that have a route; the handshake belongs to the session itself. */
export type RoutedMethod = Exclude<MethodName, 'initialize'>

/** What a route needs of the connection that the request came by. */
export interface RouteSession {
  /** Names the connection. */
  readonly id: string
  /** Calls the listener once, when the connection is over. @throws LoopatError `cancelled` when it is over already */
  onEnd(listener: () => void): void
  /** @throws LoopatError `too_many_requests` */
  openStream(): ResultOf<'stream/open'>
  /** @throws LoopatError `stream_invalid` */
  claimStream(id: string, signal: AbortSignal): Promise<ExecStream>
  /**
   * @param since the last event that the client saw
   * @throws LoopatError `too_many_requests`
   */
  subscribe(filter: EventFilter, since: string | undefined): ResultOf<'event/subscribe'>
  /** Takes what the client says of whether it is there. */
  setAway(isAway: boolean): void
  /** A command runs, as long as the client is there. @returns tells that it has ended; once only */
  watch(): () => void
  /** Ends a subscription of this connection; does nothing when there is none. */
  unsubscribe(id: string): void
}

/** What a route has besides the params. */
export interface RouteContext {
  readonly services: Services
  readonly discovery: Discovery
  readonly session: RouteSession
  readonly onProgress: OnProgress
  /** Aborts when the request is cancelled, its client goes away or the daemon stops. */
  readonly signal: AbortSignal
}

/** A missing, superfluous or wrongly typed route does not compile. */
type Routes = {
  readonly [M in RoutedMethod]: (params: CheckedParamsOf<M>, context: RouteContext) => Promise<ResultOf<M>>
}

/** Routes, sorted by method. */
export const ROUTES: Routes = {
  'daemon/shutdown': (params, { services, signal }) => services.daemon.shutdown(params, signal),
  'daemon/status': (params, { services, signal }) => services.daemon.status(params, signal),
  'doctor/run': (params, { services, signal }) => services.doctor.run(params, signal),
  'env/list': (params, { services, signal }) => services.loop.listEnv(params, signal),
  'env/set': (params, { services, signal }) => services.loop.setEnv(params, signal),
  'env/unset': (params, { services, signal }) => services.loop.unsetEnv(params, signal),
  'event/subscribe': subscribe,
  'event/unsubscribe': async (params, { session }) => unsubscribe(session, params.subscription),
  'exec/run': runCommand,
  'host/approve': (params, { services, signal }) => services.host.approve(params, signal),
  'host/deny': (params, { services, signal }) => services.host.deny(params, signal),
  'host/grant': (params, { services, signal }) => services.host.grant(params, signal),
  'host/list': (params, { services, signal }) => services.host.list(params, signal),
  'host/log': (params, { services, signal }) => services.host.log(params, signal),
  'host/pending': (params, { services, signal }) => services.host.pending(params, signal),
  'host/revoke': (params, { services, signal }) => services.host.revoke(params, signal),
  'idle/acquire': (params, { services, session, signal }) => services.idle.acquire(params, session, signal),
  'idle/hold': (params, { services, signal }) => services.idle.hold(params, signal),
  'idle/list': (params, { services, signal }) => services.idle.list(params, signal),
  'idle/release': (params, { services, session, signal }) => services.idle.release(params, session, signal),
  'idle/renew': (params, { services, session, signal }) => services.idle.renew(params, session, signal),
  'idle/set': (params, { services, signal }) => services.idle.set(params, signal),
  'idle/why': (params, { services, signal }) => services.idle.why(params, signal),
  'image/build': (params, { services, onProgress, signal }) => services.image.build(params, onProgress, signal),
  'image/status': (params, { services, signal }) => services.image.status(params, signal),
  'job/get': (params, { services, signal }) => services.job.get(params, signal),
  'job/kill': (params, { services, signal }) => services.job.kill(params, signal),
  'job/list': (params, { services, signal }) => services.job.list(params, signal),
  'job/logs': (params, { services, signal }) => services.job.logs(params, signal),
  'job/remove': (params, { services, signal }) => services.job.remove(params, signal),
  'job/start': (params, { services, onProgress, signal }) => services.job.start(params, onProgress, signal),
  'job/wait': (params, { services, signal }) => services.job.wait(params, signal),
  'loop/archive': (params, { services, signal }) => services.loop.archive(params, signal),
  'loop/create': (params, { services, onProgress, signal }) => services.loop.create(params, onProgress, signal),
  'loop/get': (params, { services, signal }) => services.loop.get(params, signal),
  'loop/inspect': (params, { services, signal }) => services.loop.inspect(params, signal),
  'loop/list': (params, { services, signal }) => services.loop.list(params, signal),
  'loop/plan': (params, { services, signal }) => services.loop.plan(params, signal),
  'loop/remove': (params, { services, onProgress, signal }) => services.loop.remove(params, onProgress, signal),
  'loop/rename': (params, { services, signal }) => services.loop.rename(params, signal),
  'loop/restart': (params, { services, onProgress, signal }) => services.loop.restart(params, onProgress, signal),
  'loop/start': (params, { services, onProgress, signal }) => services.loop.start(params, onProgress, signal),
  'loop/stop': (params, { services, signal }) => services.loop.stop(params, signal),
  'loop/unarchive': (params, { services, signal }) => services.loop.unarchive(params, signal),
  'loop/update': (params, { services, onProgress, signal }) => services.loop.update(params, onProgress, signal),
  'presence/set': async (params, { session }) => setPresence(session, params.away),
  'rpc.discover': async (_params, { discovery }) => discovery.document,
  'stream/open': async (_params, { session }) => session.openStream(),
  'vault/create': (params, { services, signal }) => services.vault.create(params, signal),
  'vault/list': (params, { services, signal }) => services.vault.list(params, signal),
  'vault/remove': (params, { services, signal }) => services.vault.remove(params, signal),
  'vault/set': (params, { services, signal }) => services.vault.set(params, signal),
  'vault/show': (params, { services, signal }) => services.vault.show(params, signal),
  'vault/unset': (params, { services, signal }) => services.vault.unset(params, signal),
}

/** Reports whether a method of a client has a route. */
export function isRouted(method: string): method is RoutedMethod {
  return Object.hasOwn(ROUTES, method)
}

/** Answers a request whose params are checked. */
export function route<M extends RoutedMethod>(
  method: M,
  params: CheckedParamsOf<M>,
  context: RouteContext,
): Promise<ResultOf<M>> {
  return ROUTES[method](params, context)
}

async function subscribe(
  { kinds, loop, since }: CheckedParamsOf<'event/subscribe'>,
  { services, session, signal }: RouteContext,
): Promise<ResultOf<'event/subscribe'>> {
  const found = loop === undefined ? undefined : await services.loop.get({ loop }, signal)
  return session.subscribe({ kinds, loopId: found?.loop.id }, since)
}

function unsubscribe(session: RouteSession, id: string): ResultOf<'event/unsubscribe'> {
  session.unsubscribe(id)
  return {}
}

function setPresence(session: RouteSession, isAway: boolean): ResultOf<'presence/set'> {
  session.setAway(isAway)
  return {}
}

/** The stream ends with the request, however that ends: its client must not wait for output that will not come. */
async function runCommand(
  params: CheckedParamsOf<'exec/run'>,
  { services, session, onProgress, signal }: RouteContext,
): Promise<ResultOf<'exec/run'>> {
  const unwatch = session.watch()
  let io: ExecStream | undefined
  try {
    if (params.stream !== undefined) io = await session.claimStream(params.stream, signal)
    const result = await services.exec.run(params, io, onProgress, signal)
    await io?.close()
    return result
  } catch (error) {
    io?.destroy()
    throw error
  } finally {
    unwatch()
  }
}

/** Methods that this daemon serves, sorted. */
export const SERVED_METHODS: readonly MethodName[] = Object.keys({ ...ROUTES, initialize: true } satisfies Record<
  MethodName,
  unknown
>).sort() as MethodName[]
