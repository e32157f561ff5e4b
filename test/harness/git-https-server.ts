import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { GIT_TEST_ENV } from './repo.ts'

const execute = promisify(execFile)

/** A private https server on the loopback address that serves the git repositories below a directory. */
export interface GitHttpsServer extends AsyncDisposable {
  /** `https://127.0.0.1:…` without a slash at the end. */
  readonly origin: string
  /** File with the certificate that vouches for it. */
  readonly ca: string
  /** Credentials that were sent to it, as sent. */
  readonly credentials: string[]
}

/**
 * Starts the server. `/private/…` asks for a password, `/moved/…` leads to another transport, `/silent/…` never answers.
 * @param directory an existing directory for its files, in which the repositories are
 */
export async function startGitHttpsServer(directory: string): Promise<GitHttpsServer> {
  const [key, ca] = [join(directory, 'tls.key'), join(directory, 'tls.crt')]
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1']
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  await execute('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', ca])
  const credentials: string[] = []
  const server = createServer({ key: await readFile(key), cert: await readFile(ca) }, (request, response) => {
    if (request.headers.authorization !== undefined) credentials.push(request.headers.authorization)
    const url = request.url ?? '/'
    if (url.startsWith('/silent/')) return
    if (url.startsWith('/private/')) response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end()
    else if (url.startsWith('/moved/'))
      response.writeHead(301, { location: `file://${directory}/${url.slice(7)}` }).end()
    else void serve(directory, request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    origin: `https://127.0.0.1:${address.port}`,
    ca,
    credentials,
    [Symbol.asyncDispose]: async () => {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

/** Hands one request to git's own CGI program. */
async function serve(directory: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, search } = new URL(request.url ?? '/', 'https://127.0.0.1')
  const child = spawn('git', ['http-backend'], {
    env: {
      ...GIT_TEST_ENV,
      GIT_PROJECT_ROOT: directory,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: decodeURIComponent(pathname),
      QUERY_STRING: search.slice(1),
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      HTTP_GIT_PROTOCOL: request.headers['git-protocol']?.toString() ?? '',
      REMOTE_ADDR: '127.0.0.1',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  request.pipe(child.stdin)
  const chunks: Buffer[] = []
  for await (const chunk of child.stdout) chunks.push(chunk)
  const output = Buffer.concat(chunks)
  const end = output.indexOf('\r\n\r\n')
  const headers = output
    .subarray(0, end)
    .toString()
    .split('\r\n')
    .map((line) => line.split(/: (.*)/))
  for (const [name = '', value = ''] of headers) {
    if (name.toLowerCase() === 'status') response.statusCode = Number.parseInt(value, 10)
    else response.setHeader(name, value)
  }
  response.end(output.subarray(end + 4))
}
