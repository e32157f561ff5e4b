/** The whole contract: every method and notification by name, and the types inferred from them. */
import type { z } from 'zod'
import { daemonChanged, daemonShutdown, daemonStatus } from './daemon.ts'
import { doctorRun } from './doctor.ts'
import { envList, envSet, envUnset } from './env.ts'
import { eventSubscribe, eventUnsubscribe } from './event.ts'
import { execRun } from './exec.ts'
import { initialize } from './handshake.ts'
import {
  hostApprovalRequested,
  hostApprovalSettled,
  hostApprove,
  hostDeny,
  hostGrant,
  hostList,
  hostLog,
  hostPending,
  hostRevoke,
} from './host.ts'
import { idleAcquire, idleHold, idleList, idleRelease, idleRenew, idleSet, idleWhy } from './idle.ts'
import { imageBuild, imageProgress, imageStatus } from './image.ts'
import { jobChanged, jobGet, jobKill, jobList, jobLogs, jobRemove, jobStart, jobWait } from './job.ts'
import {
  loopArchive,
  loopChanged,
  loopCreate,
  loopGet,
  loopList,
  loopRemove,
  loopRename,
  loopRestart,
  loopStart,
  loopStop,
  loopUnarchive,
} from './loop.ts'
import { loopInspect } from './loop-inspect.ts'
import { loopPlan, loopUpdate } from './loop-update.ts'
import { rpcDiscover } from './openrpc.ts'
import { presenceSet } from './presence.ts'
import { streamOpen } from './stream.ts'
import { vaultCreate, vaultList, vaultRemove, vaultSet, vaultShow, vaultUnset } from './vault.ts'

/** Methods, sorted by name. */
export const METHODS = {
  'daemon/shutdown': daemonShutdown,
  'daemon/status': daemonStatus,
  'doctor/run': doctorRun,
  'env/list': envList,
  'env/set': envSet,
  'env/unset': envUnset,
  'event/subscribe': eventSubscribe,
  'event/unsubscribe': eventUnsubscribe,
  'exec/run': execRun,
  'host/approve': hostApprove,
  'host/deny': hostDeny,
  'host/grant': hostGrant,
  'host/list': hostList,
  'host/log': hostLog,
  'host/pending': hostPending,
  'host/revoke': hostRevoke,
  'idle/acquire': idleAcquire,
  'idle/hold': idleHold,
  'idle/list': idleList,
  'idle/release': idleRelease,
  'idle/renew': idleRenew,
  'idle/set': idleSet,
  'idle/why': idleWhy,
  'image/build': imageBuild,
  'image/status': imageStatus,
  initialize: initialize,
  'job/get': jobGet,
  'job/kill': jobKill,
  'job/list': jobList,
  'job/logs': jobLogs,
  'job/remove': jobRemove,
  'job/start': jobStart,
  'job/wait': jobWait,
  'loop/archive': loopArchive,
  'loop/create': loopCreate,
  'loop/get': loopGet,
  'loop/inspect': loopInspect,
  'loop/list': loopList,
  'loop/plan': loopPlan,
  'loop/remove': loopRemove,
  'loop/rename': loopRename,
  'loop/restart': loopRestart,
  'loop/start': loopStart,
  'loop/stop': loopStop,
  'loop/unarchive': loopUnarchive,
  'loop/update': loopUpdate,
  'presence/set': presenceSet,
  'rpc.discover': rpcDiscover,
  'stream/open': streamOpen,
  'vault/create': vaultCreate,
  'vault/list': vaultList,
  'vault/remove': vaultRemove,
  'vault/set': vaultSet,
  'vault/show': vaultShow,
  'vault/unset': vaultUnset,
} as const

/** Notifications, sorted by name. */
export const NOTIFICATIONS = {
  'daemon/changed': daemonChanged,
  'host/approvalRequested': hostApprovalRequested,
  'host/approvalSettled': hostApprovalSettled,
  'image/progress': imageProgress,
  'job/changed': jobChanged,
  'loop/changed': loopChanged,
} as const

export type MethodName = keyof typeof METHODS
export type NotificationName = keyof typeof NOTIFICATIONS

/** Params as a client writes them: defaults may be left out. */
export type ParamsOf<M extends MethodName> = z.input<(typeof METHODS)[M]['params']>
/** Params as a service gets them: checked, defaults filled in. */
export type CheckedParamsOf<M extends MethodName> = z.output<(typeof METHODS)[M]['params']>
/** Result of a method. */
export type ResultOf<M extends MethodName> = z.output<(typeof METHODS)[M]['result']>
/** Params of a notification. */
export type NotificationParamsOf<N extends NotificationName> = z.output<(typeof NOTIFICATIONS)[N]['params']>
