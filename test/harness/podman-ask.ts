import { request } from 'node:http'
import { text } from 'node:stream/consumers'

/** Asks podman's API past the engine, to see with other eyes. @returns the parsed answer */
export async function ask(socketPath: string, path: string, method = 'GET'): Promise<unknown> {
  const body = await new Promise<string>((resolve, reject) => {
    request({ socketPath, path, method }, (response) => resolve(text(response)))
      .on('error', reject)
      .end()
  })
  return body === '' ? undefined : JSON.parse(body)
}
