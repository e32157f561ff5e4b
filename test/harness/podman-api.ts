import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Answers one request of a {@link FakeApi}. */
export type ApiHandler = (request: IncomingMessage, response: ServerResponse) => void

/** Something that listens where podman would, and says what a test wants it to say. */
export interface FakeApi extends AsyncDisposable {
  readonly socketPath: string
  /** `METHOD /path` of each request, in order. */
  readonly requests: readonly string[]
  /** Stops listening; what is connected is cut off. */
  stop(): Promise<void>
  /** Listens again. */
  start(): Promise<void>
}

/** Starts a fake of podman's API. @param handle answers all requests */
export async function startFakeApi(handle: ApiHandler): Promise<FakeApi> {
  const directory = await mkdtemp(join(tmpdir(), 'loopat-api-'))
  const socketPath = join(directory, 'api.sock')
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url?.replace(/\?.*/, '')}`)
    handle(request, response)
  })
  const start = () => new Promise<void>((resolve) => server.listen(socketPath, resolve))
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  await start()
  return {
    socketPath,
    requests,
    start,
    stop,
    [Symbol.asyncDispose]: async () => {
      if (server.listening) await stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** Answers with JSON. */
export function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Libpod-API-Version': '4.3.1' })
  response.end(JSON.stringify(body))
}
