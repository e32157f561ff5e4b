import { request } from 'node:http'

/** What a socket answered: it is that of a podman of this version, or why it is not to be used. */
export type PingResult =
  | { readonly kind: 'podman'; readonly version: string }
  | { readonly kind: 'silent'; readonly reason: string }

/**
 * Asks a socket whether podman is behind it. Does not go through dockerode, so that looking for podman is quick.
 * @param timeoutMs how long to wait for the answer
 * @throws the reason of the signal, and nothing else
 */
export async function ping(socketPath: string, timeoutMs: number, signal?: AbortSignal): Promise<PingResult> {
  signal?.throwIfAborted()
  const result = await new Promise<PingResult>((resolve) => {
    const deadline = AbortSignal.timeout(timeoutMs)
    const asked = request({
      socketPath,
      path: '/_ping',
      headers: { Host: 'podman', Connection: 'close' },
      signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
    })
    asked.on('error', (error: NodeJS.ErrnoException) => {
      const reason = deadline.aborted ? `no answer within ${timeoutMs} ms` : (error.code ?? error.message)
      resolve({ kind: 'silent', reason })
    })
    asked.on('response', (response) => {
      response.resume()
      response.on('error', () => undefined)
      // The current version of its interface is the version of podman.
      const version = response.headers['libpod-api-version']
      if (typeof version === 'string') resolve({ kind: 'podman', version })
      else resolve({ kind: 'silent', reason: `something else than podman answers (HTTP ${response.statusCode})` })
    })
    asked.end()
  })
  signal?.throwIfAborted()
  return result
}
