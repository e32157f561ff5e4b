import { Agent, request } from 'node:http'

/** podman's Docker-compatible API, spoken without any library: what a program of one's own would do at best. */
export class Api {
  readonly #socketPath: string
  readonly #agent = new Agent({ keepAlive: true })

  constructor(socketPath: string) {
    this.#socketPath = socketPath
  }

  /** The shortest question there is. */
  async ping(): Promise<void> {
    await this.#ask('GET', '/_ping')
  }

  /** Everything about one container. */
  async inspect(container: string): Promise<void> {
    await this.#ask('GET', `/containers/${container}/json`)
  }

  /** All containers. */
  async list(): Promise<void> {
    await this.#ask('GET', '/containers/json?all=true')
  }

  /** Runs a command in a container: create, start, read to the end, inspect. @throws Error when it does not exit with 0 */
  async exec(container: string, command: readonly string[]): Promise<void> {
    const body = { AttachStdout: true, AttachStderr: true, Cmd: command }
    const created: { Id: string } = JSON.parse(await this.#ask('POST', `/containers/${container}/exec`, body))
    await this.#ask('POST', `/exec/${created.Id}/start`, { Detach: false, Tty: false })
    const ended: { ExitCode: number } = JSON.parse(await this.#ask('GET', `/exec/${created.Id}/json`))
    if (ended.ExitCode !== 0) throw new Error(`${command.join(' ')} exited with ${ended.ExitCode}`)
  }

  /** Closes the connections. */
  close(): void {
    this.#agent.destroy()
  }

  async #ask(method: string, path: string, body?: unknown): Promise<string> {
    const content = body === undefined ? '' : JSON.stringify(body)
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(content) }
    const options = { socketPath: this.#socketPath, agent: this.#agent, path, method, headers }
    const { status, text } = await new Promise<{ status: number; text: string }>((resolve, reject) => {
      const asked = request(options, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }))
      })
      asked.on('error', reject)
      asked.end(content)
    })
    if (status < 200 || status > 299) throw new Error(`podman answered ${status} to ${method} ${path}: ${text}`)
    return text
  }
}
