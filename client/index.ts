/** The typed loopatd client: what editor plug-ins, agents and `loopctl` build on. */
export type { Progress } from '@loopatd/protocol'
export { LoopatError } from '@loopatd/protocol/error'
export { checkDaemon } from './check-daemon.ts'
export { LoopatClient, type ServerInfo } from './client.ts'
export { type ConnectOptions, connect, HANDSHAKE_MS } from './connect.ts'
export type { OptionsOf, RequestParams } from './feature/call.ts'
export type { DaemonFeature } from './feature/daemon.ts'
export type { DoctorFeature } from './feature/doctor.ts'
export type { EventFeature, EventSubscription, LoopatEvent } from './feature/event.ts'
export type {
  ExecEnd,
  ExecFeature,
  ExecProcess,
  ExecResult,
  ExecRunParams,
  ExecSignal,
  ExecSpawnParams,
} from './feature/exec.ts'
export type { HostFeature } from './feature/host.ts'
export type { IdleFeature } from './feature/idle.ts'
export type { ImageFeature } from './feature/image.ts'
export type { JobFeature, JobStartParams } from './feature/job.ts'
export type { LoopFeature } from './feature/loop.ts'
export type { PresenceFeature } from './feature/presence.ts'
export type { NotificationListener, RequestOptions } from './rpc.ts'
export { type AutostartOptions, findDaemon } from './spawn-daemon.ts'
export type { RawStream } from './stream.ts'
export {
  type Environment,
  hasManager,
  installedUnits,
  isActive,
  isInstalled,
  systemctl,
  type Units,
  unitsOf,
} from './systemd.ts'
