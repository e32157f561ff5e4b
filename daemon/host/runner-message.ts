import type { HostCommand, HostRunEnd } from './host-run.ts'

/** What the daemon tells a runner. The first comes with a connection. */
export type ToRunner =
  | { readonly type: 'run'; readonly id: number; readonly head: Buffer; readonly command: HostCommand }
  | { readonly type: 'end'; readonly id: number }

/**
 * What a runner tells the daemon: the first process of a command, which leads its session, that it is no more (undefined),
 * and how the command ended.
 */
export type FromRunner =
  | { readonly type: 'began'; readonly id: number; readonly pid: number | undefined }
  | { readonly type: 'ended'; readonly id: number; readonly end: HostRunEnd }
