import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { callSelf } from '../../../daemon/server/self-call.ts'
import { startServer } from '../../harness/peer-server.ts'

const never = new AbortController().signal
const status = () => Promise.reject(new Error('a failure is an answer, not proof'))

describe('callSelf', () => {
  it('should be answered by a daemon that works', async () => {
    await using server = await startServer({ daemon: { status: () => Promise.resolve(STATUS) } })
    await callSelf(server.path, never)
  })

  it('should fail when the status cannot be told', async () => {
    await using server = await startServer({ daemon: { status } })
    await expect(callSelf(server.path, never)).rejects.toMatchObject({ code: 'daemon_unreachable' })
  })

  it('should take it for work that a full daemon turns it away', async () => {
    await using server = await startServer({}, { limits: { maxConnections: 1 } })
    await using _peer = await server.initialized()
    await callSelf(server.path, never)
  })

  it('should fail when nobody listens, and when nobody answers in time', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'self-'))
    const path = join(directory, 's')
    await expect(callSelf(path, never)).rejects.toMatchObject({ code: 'daemon_unreachable' })
    const silent = createServer((socket) => socket.resume())
    await new Promise<void>((resolve) => silent.listen(path, resolve))
    await expect(callSelf(path, AbortSignal.timeout(50))).rejects.toMatchObject({ name: 'TimeoutError' })
    await new Promise((resolve) => silent.close(resolve))
    rmSync(directory, { recursive: true })
  })
})

const STATUS = {
  ...{ pid: 1, version: '0', protocolVersion: 1, workspace: 'w', home: '/h', socket: '/s', log: '/l' },
  startedAt: '2026-01-01T00:00:00.000Z',
  engine: { state: 'down' as const, reason: 'none', socket: null, owned: false, version: null },
  storage: { writable: true, reason: null },
  loops: { total: 0, running: 0, archived: 0, broken: 0 },
  ...{ clients: 1, leases: 0, memoryBytes: 1 },
}
