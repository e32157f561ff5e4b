/** A server on a socket of its own, with services that a test fills in. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type LoopatClient } from '@loopatd/client'
import type { CheckedParamsOf, LoopState, ResultOf } from '@loopatd/protocol'
import type { Logger } from '../../daemon/log.ts'
import { EventHub } from '../../daemon/server/event-hub.ts'
import { createServer, type Server, type ServerOptions } from '../../daemon/server/server.ts'
import type { Services } from '../../daemon/server/services.ts'
import { Peer } from './peer.ts'

/** What was logged. */
export interface LogEntry {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly fields: object
  readonly message: string
}

export function memoryLog(entries: LogEntry[] = []): Logger {
  const at = (level: LogEntry['level']) => (fields: object, message: string) => {
    entries.push({ level, fields, message })
  }
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => memoryLog(entries),
  }
}

/** A loop as services show it. */
export function loopInfo(id: string, state: LoopState = 'running'): ResultOf<'loop/get'>['loop'] {
  return {
    id,
    name: `loop-${id.slice(0, 4)}`,
    title: 'a loop',
    state,
    reason: null,
    createdAt: '2026-01-01T00:00:00.000Z',
    archivedAt: null,
    startedAt: null,
    address: null,
    user: null,
    repo: null,
    branch: null,
    image: null,
    vault: 'default',
  }
}

const unexpected = () => Promise.reject(new Error('the test did not expect this call'))

/** Services that know loops by any reference and refuse the rest, unless the test brings its own. */
export function stubServices(own: { readonly [R in keyof Services]?: Partial<Services[R]> } = {}): Services {
  const get = async ({ loop }: CheckedParamsOf<'loop/get'>): Promise<ResultOf<'loop/get'>> => ({
    loop: loopInfo(loop),
    container: { name: `loopat-${loop}`, id: null },
    recreation: { due: null, last: null },
    leases: [],
    paths: { directory: '/l', workdir: '/l/w', home: '/l/h' },
    metadata: null,
  })
  const list = async () => ({ loops: [] })
  return {
    daemon: { shutdown: unexpected, status: unexpected, ...own.daemon },
    doctor: { run: async () => ({ ready: true, checks: [] }), ...own.doctor },
    exec: { run: unexpected, ...own.exec },
    host: {
      approve: unexpected,
      deny: unexpected,
      grant: unexpected,
      list: unexpected,
      log: unexpected,
      pending: unexpected,
      revoke: unexpected,
      ...own.host,
    },
    idle: {
      acquire: unexpected,
      hold: unexpected,
      list: unexpected,
      release: unexpected,
      renew: unexpected,
      set: unexpected,
      why: unexpected,
      ...own.idle,
    },
    image: { build: unexpected, status: unexpected, ...own.image },
    job: {
      get: unexpected,
      kill: unexpected,
      list: unexpected,
      logs: unexpected,
      remove: unexpected,
      start: unexpected,
      wait: unexpected,
      ...own.job,
    },
    loop: {
      archive: unexpected,
      create: unexpected,
      get,
      inspect: unexpected,
      list,
      listEnv: unexpected,
      plan: unexpected,
      remove: unexpected,
      rename: unexpected,
      restart: unexpected,
      setEnv: unexpected,
      start: unexpected,
      stop: unexpected,
      unarchive: unexpected,
      unsetEnv: unexpected,
      update: unexpected,
      ...own.loop,
    },
    vault: {
      create: unexpected,
      list: unexpected,
      remove: unexpected,
      set: unexpected,
      show: unexpected,
      unset: unexpected,
      ...own.vault,
    },
  }
}

/** A running server and ways to reach it. */
export interface TestServer extends AsyncDisposable {
  readonly path: string
  readonly server: Server
  readonly hub: EventHub
  readonly log: LogEntry[]
  client(): Promise<LoopatClient>
  /** A bare connection. */
  peer(): Promise<Peer>
  /** A bare connection that has shaken hands. */
  initialized(): Promise<Peer>
}

export async function startServer(
  own: Parameters<typeof stubServices>[0] = {},
  options: Partial<Pick<ServerOptions, 'clock' | 'limits' | 'tokenMs' | 'checkResults'>> = {},
): Promise<TestServer> {
  const directory = await mkdtemp(join(tmpdir(), 'loopat-server-'))
  const path = join(directory, 'loopatd.sock')
  const hub = new EventHub()
  const log: LogEntry[] = []
  const server = createServer({
    services: stubServices(own),
    hub,
    workspace: 'test',
    version: '0.0.0',
    log: memoryLog(log),
    checkResults: true,
    ...options,
  })
  await server.listen({ path })
  return {
    path,
    server,
    hub,
    log,
    client: () => connect({ socket: path }),
    peer: () => Peer.connect(path),
    initialized: () => Peer.initialized(path),
    [Symbol.asyncDispose]: async () => {
      await server.close(0)
      await rm(directory, { recursive: true, force: true })
    },
  }
}
