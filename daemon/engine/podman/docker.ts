import { IncomingMessage } from 'node:http'
import type { Duplex, Readable } from 'node:stream'
import type Dockerode from 'dockerode'
import { EngineError } from '../engine.ts'

/** Words of a query; a list stands for the same word several times. */
export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>

/** One request to podman's API. */
export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Path without query; parts that come from outside are encoded with {@link pathOf}. */
  readonly path: string
  readonly query?: Query
  /** Sent as JSON. */
  readonly body?: object
  /** Sent as a tar instead of a body. A stream that fails breaks the request off. */
  readonly upload?: Readable
  /** Status codes that are successes. */
  readonly ok: readonly number[]
}

/** An answer that is no success. */
export class ApiFailure extends Error {
  override readonly name = 'ApiFailure'
  readonly statusCode: number
  /** What podman says about it, parsed; its text when it is no JSON. */
  readonly body: unknown

  constructor(statusCode: number, body: unknown) {
    super(`HTTP ${statusCode}`)
    this.statusCode = statusCode
    this.body = body
  }
}

/** The part of docker-modem that is used. */
interface Modem {
  dial(options: DialOptions, callback: (error: unknown, data: unknown) => void): void
}

interface DialOptions {
  readonly path: string
  readonly method: string
  readonly options: { readonly _query: object; readonly _body: object }
  readonly statusCodes: Readonly<Record<number, boolean>>
  readonly file?: Readable
  readonly isStream: boolean
  readonly hijack?: boolean
  readonly abortSignal?: AbortSignal
}

/** The client of a socket. */
interface Client {
  readonly socketPath: string
  readonly modem: Modem
}

/** Every status, so that the modem hands over every answer. */
const ANY_STATUS: Readonly<Record<number, boolean>> = Object.fromEntries(
  Array.from({ length: 500 }, (_, index) => [100 + index, true]),
)

/** No list of containers or images is as long as this. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024

/**
 * Speaks HTTP to podman, through dockerode. dockerode is loaded at the first call, since that takes over 100 ms.
 * Connections are not reused: a fresh one costs a fraction of a millisecond on a unix socket, and so a request never
 * meets a socket that the service closed meanwhile. Throws {@link ApiFailure}, or what the connection
 * failed with; see `error.ts`. Nothing has a time limit here; see `silence.ts`.
 */
export class DockerClient {
  readonly #socketPath: () => string
  #loading: Promise<typeof Dockerode> | undefined
  #client: Client | undefined

  /** @param socketPath tells the socket to use now; asked before each request, so that the service may move */
  constructor(socketPath: () => string) {
    this.#socketPath = socketPath
  }

  /** Makes a call and returns its parsed answer; its text when it is no JSON. */
  async call(request: ApiRequest, signal?: AbortSignal): Promise<unknown> {
    const modem = await this.#connect()
    return parse(await collect(await checked(await dial<IncomingMessage>(modem, request, {}, signal), request)))
  }

  /** Makes a call and returns the body of its answer as it comes. The signal breaks the stream off, too. */
  async stream(request: ApiRequest, signal?: AbortSignal): Promise<Readable> {
    const modem = await this.#connect()
    return await checked(await dial<IncomingMessage>(modem, request, {}, signal), request)
  }

  /** Makes a call that turns its connection into a raw duplex stream. The signal has no effect afterwards. */
  async hijack(request: ApiRequest, signal?: AbortSignal): Promise<Duplex> {
    const modem = await this.#connect()
    const answer = await dial<Duplex | IncomingMessage>(modem, request, { hijack: true }, signal)
    if (!(answer instanceof IncomingMessage)) return answer
    await checked(answer, request)
    answer.destroy()
    throw new EngineError('failed', `podman did not hand the connection over: ${request.path}`)
  }

  async #connect(): Promise<Modem> {
    this.#loading ??= import('dockerode').then((module) => module.default)
    const Docker = await this.#loading
    const socketPath = this.#socketPath()
    if (this.#client?.socketPath !== socketPath) this.#client = { socketPath, modem: createModem(Docker, socketPath) }
    return this.#client.modem
  }
}

/** Joins path segments that come from outside into a path. */
export function pathOf(...segments: string[]): string {
  return segments.map((segment) => `/${encodeURIComponent(segment)}`).join('')
}

/**
 * DOCKER_HOST overrides an explicit socket path, and broken DOCKER_* variables make the constructor throw; a socket was
 * chosen already, so they are out of sight while it runs.
 */
function createModem(Docker: typeof Dockerode, socketPath: string): Modem {
  const hidden = Object.entries(process.env).filter(([name]) => name.startsWith('DOCKER_'))
  for (const [name] of hidden) delete process.env[name]
  try {
    const headers = { Connection: 'close' }
    return new Docker({ socketPath, protocol: 'http', timeout: 0, headers }).modem
  } finally {
    for (const [name, value] of hidden) process.env[name] = value
  }
}

function dial<T>(
  modem: Modem,
  request: ApiRequest,
  extra: Pick<DialOptions, 'hijack'>,
  signal: AbortSignal | undefined,
): Promise<T> {
  const options: DialOptions = {
    // The modem appends its own (empty) query to a path with a question mark, and otherwise cuts the last character.
    path: `${request.path}?${queryOf(request.query ?? {})}`,
    method: request.method,
    options: { _query: {}, _body: request.body ?? {} },
    // Bodies are read here: the modem would wait for ever for the rest of an answer that is cut off, and drop the
    // cause of a failure.
    isStream: true,
    statusCodes: ANY_STATUS,
    ...(request.upload === undefined ? {} : { file: request.upload }),
    ...(signal === undefined ? {} : { abortSignal: signal }),
    ...extra,
  }
  return new Promise<T>((resolve, reject) => {
    modem.dial(options, (error, data) => {
      if (error !== null && error !== undefined) reject(error)
      else resolve(data as T)
    })
  })
}

/** @returns the answer, when its status is a success. @throws ApiFailure otherwise */
async function checked(answer: IncomingMessage, { ok }: ApiRequest): Promise<IncomingMessage> {
  const status = answer.statusCode ?? 0
  if (ok.includes(status)) return answer
  throw new ApiFailure(status, parse(await collect(answer)))
}

async function collect(answer: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    size += chunk.length
    if (size > MAX_ANSWER_BYTES) throw new EngineError('failed', 'podman sent an answer without end')
  }
  return Buffer.concat(chunks)
}

function parse(answer: Buffer): unknown {
  const text = answer.toString()
  try {
    return JSON.parse(text)
  } catch (error) {
    // Some answers have no body, or a plain word.
    if (error instanceof SyntaxError) return text
    throw error
  }
}

function queryOf(query: Query): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) if (each !== undefined) search.append(name, `${each}`)
  }
  return search.toString()
}
