import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '@loopatd/client'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { frameText } from '../harness/peer.ts'
import { startServer } from '../harness/peer-server.ts'

let directory: string
let path: string
const cleanups: (() => void)[] = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'loopat-client-'))
  path = join(directory, 's.sock')
})

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
  rmSync(directory, { recursive: true, force: true })
})

/** Listens in place of a daemon. */
async function impostor(onConnection: (socket: Socket) => void): Promise<void> {
  const sockets: Socket[] = []
  const server: Server = createServer((socket) => {
    sockets.push(socket.on('error', () => undefined))
    onConnection(socket)
  })
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
}

const answer = (value: object) => frameText(JSON.stringify({ jsonrpc: '2.0', id: 0, ...value }))

describe('connect', () => {
  it('should shake hands and tell what it found', async () => {
    await using server = await startServer()
    await using client = await connect({ socket: server.path, client: { name: 'me', version: '2' } })
    expect(client.server).toMatchObject({ protocolVersion: 1, workspace: 'test' })
    expect(client.socket).toBe(server.path)
    expect(await client.loop.list()).toEqual({ loops: [] })
    const fields = expect.objectContaining({ client: { name: 'me', version: '2' } })
    expect(server.log).toContainEqual(expect.objectContaining({ fields }))
  })

  it('should say that no daemon answers, where, and what to do', async () => {
    await expect(connect({ socket: path })).rejects.toMatchObject({
      code: 'daemon_unreachable',
      message: `no daemon answers on ${path}: there is no socket`,
      next: expect.stringContaining('loopctl daemon'),
      exitCode: 6,
    })
  })

  it('should not wait for a daemon that is silent', async () => {
    await impostor(() => undefined)
    await expect(connect({ socket: path, handshakeMs: 50 })).rejects.toMatchObject({
      code: 'daemon_unreachable',
      message: `the daemon on ${path} did not answer within 50 ms`,
    })
  })

  it('should refuse a daemon of another version', async () => {
    await impostor((socket) => socket.once('data', () => socket.write(answer({ result: { protocolVersion: 9 } }))))
    await expect(connect({ socket: path })).rejects.toMatchObject({
      code: 'protocol_unsupported',
      message: 'the daemon speaks protocol version 9, this client 1',
    })
  })

  it('should pass on that the daemon refuses this version', async () => {
    const error = { code: 1026, message: 'no', data: { name: 'protocol_unsupported', details: { supported: [2, 3] } } }
    await impostor((socket) => socket.once('data', () => socket.write(answer({ error }))))
    await expect(connect({ socket: path })).rejects.toMatchObject({
      code: 'protocol_unsupported',
      details: { supported: [2, 3] },
    })
  })

  it.each([
    ['talks nonsense', (socket: Socket) => void socket.write('SSH-2.0-OpenSSH\r\n\r\n')],
    ['hangs up', (socket: Socket) => void socket.end()],
    ['answers something else', (socket: Socket) => void socket.write(answer({ result: 'hello' }))],
  ])('should give up on a listener that %s', async (_what, behave) => {
    await impostor((socket) => socket.once('data', () => behave(socket)))
    await expect(connect({ socket: path, handshakeMs: 2000 })).rejects.toMatchObject({
      code: expect.stringMatching(/^(daemon_unreachable|protocol_error)$/),
    })
  })

  it('should pass on what the daemon says before it hangs up', async () => {
    const error = { code: 1032, message: 'full', data: { name: 'too_many_requests', next: 'wait' } }
    await impostor((socket) => socket.end(frameText(JSON.stringify({ jsonrpc: '2.0', id: null, error }))))
    await expect(connect({ socket: path })).rejects.toMatchObject({ code: 'too_many_requests', next: 'wait' })
  })

  it('should be given up by the signal', async () => {
    await impostor(() => undefined)
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 20)
    await expect(connect({ socket: path }, controller.signal)).rejects.toMatchObject({ code: 'cancelled' })
    await expect(connect({ socket: path }, AbortSignal.abort())).rejects.toMatchObject({ code: 'cancelled' })
  })
})
