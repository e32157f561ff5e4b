/** Finding the daemon, starting it when none runs, and shaking hands. */
import type { Socket } from 'node:net'
import { isLoopatError, LoopatError } from '@loopatd/protocol/error'
import { findWorkspace } from '@loopatd/protocol/socket'
import { PROTOCOL_VERSION, VERSION } from '@loopatd/protocol/version'
import { LoopatClient, type ServerInfo } from './client.ts'
import { dial } from './dial.ts'
import { RpcConnection } from './rpc.ts'
import { type AutostartOptions, START_MS, spawnDaemon, whyUnitFails } from './spawn-daemon.ts'

/** Milliseconds that a daemon may take to answer `initialize`. */
export const HANDSHAKE_MS = 5000

/** How to connect. */
export interface ConnectOptions {
  /** Path of the daemon's socket; default: that of the workspace in the environment. */
  readonly socket?: string | undefined
  /** Start the daemon when none answers; default: fail with `daemon_unreachable`. Not with `socket`. */
  readonly autostart?: boolean | AutostartOptions | undefined
  /** Who connects, for the daemon's log. */
  readonly client?: { readonly name: string; readonly version: string } | undefined
  /**
   * Milliseconds that the daemon may take to answer the handshake. Default: {@link HANDSHAKE_MS}; with `autostart` what
   * a start may take, since a connection to a socket that systemd holds is what starts the daemon behind it.
   */
  readonly handshakeMs?: number | undefined
}

/**
 * Connects to the daemon of a workspace.
 * @throws LoopatError `daemon_unreachable` when no daemon answers (or none could be started), `protocol_unsupported`
 *   when it speaks another version, `config_invalid` when the environment names no usable workspace
 */
export async function connect(options: ConnectOptions = {}, signal?: AbortSignal): Promise<LoopatClient> {
  const { path, socket } = await dialOrStart(options, signal)
  const rpc = new RpcConnection(socket)
  try {
    return new LoopatClient(rpc, path, await shakeHands(rpc, path, options, signal))
  } catch (error) {
    await rpc.close()
    throw error
  }
}

async function dialOrStart(options: ConnectOptions, signal?: AbortSignal): Promise<{ path: string; socket: Socket }> {
  const { autostart } = options
  if (options.socket !== undefined) return { path: options.socket, socket: await dial(options.socket, signal) }
  const workspace = findWorkspace()
  const path = workspace.socket
  try {
    return { path, socket: await dial(path, signal) }
  } catch (error) {
    if (autostart === undefined || autostart === false || !isLoopatError(error, 'daemon_unreachable')) throw error
  }
  return { path, socket: await spawnDaemon(workspace, autostart === true ? {} : autostart, signal) }
}

/** @throws LoopatError `daemon_unreachable` when no answer comes in time, `protocol_unsupported`, `cancelled` */
async function shakeHands(
  rpc: RpcConnection,
  path: string,
  options: ConnectOptions,
  signal?: AbortSignal,
): Promise<ServerInfo> {
  const mayStart = options.socket === undefined && options.autostart !== undefined && options.autostart !== false
  const limitMs = options.handshakeMs ?? (mayStart ? START_MS : HANDSHAKE_MS)
  const client = options.client ?? { name: '@loopatd/client', version: VERSION }
  const limit = AbortSignal.timeout(limitMs)
  const either = signal === undefined ? limit : AbortSignal.any([signal, limit])
  // A silent daemon does not answer a cancellation either: the connection is given up.
  const giveUp = () => void rpc.close()
  either.addEventListener('abort', giveUp, { once: true })
  try {
    const answer = await rpc.request('initialize', { protocolVersion: PROTOCOL_VERSION, client }, { signal })
    return checkServer(answer, path)
  } catch (error) {
    if (!limit.aborted || signal?.aborted) throw error
    const why = options.socket === undefined ? await whyUnitFails(findWorkspace()) : undefined
    const message = `the daemon on ${path} did not answer within ${limitMs} ms`
    throw new LoopatError('daemon_unreachable', why === undefined ? message : `${message}: ${why}`, {
      next: 'See `loopctl daemon logs`; when it hangs, end it and try again.',
      details: { socket: path },
      cause: error,
    })
  } finally {
    either.removeEventListener('abort', giveUp)
  }
}

function checkServer(answer: unknown, path: string): ServerInfo {
  if (typeof answer === 'object' && answer !== null && 'protocolVersion' in answer) {
    if (answer.protocolVersion === PROTOCOL_VERSION) return answer as ServerInfo
    throw new LoopatError(
      'protocol_unsupported',
      `the daemon speaks protocol version ${answer.protocolVersion}, this client ${PROTOCOL_VERSION}`,
      { next: 'Install the same version of loopctl and loopatd, then restart the daemon.' },
    )
  }
  throw new LoopatError('protocol_error', `what listens on ${path} is not loopatd`, { details: { socket: path } })
}
