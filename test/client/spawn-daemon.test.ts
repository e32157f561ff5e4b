import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, findDaemon } from '@loopatd/client'
import { findWorkspace } from '@loopatd/protocol/socket'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { findByArgument } from '../../daemon/engine/podman/host.ts'

let directory: string
let pids: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'loopat-spawn-'))
  pids = join(directory, 'pids')
  vi.stubEnv('LOOPAT_HOME', join(directory, 'home'))
  vi.stubEnv('XDG_RUNTIME_DIR', directory)
  mkdirSync(findWorkspace().runtimeDir, { recursive: true, mode: 0o700 })
})

afterEach(async () => {
  vi.unstubAllEnvs()
  // One that was started late may not have written its number yet.
  for (const pid of await findByArgument(programPath())) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
    }
  }
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const programPath = () => join(directory, 'fake-loopatd')

/** Writes a program that stands in for loopatd; `body` is its script. */
function program(body: string): string {
  const path = programPath()
  writeFileSync(
    path,
    `#!${process.execPath}
const fs = require('node:fs'), net = require('node:net')
fs.appendFileSync(${JSON.stringify(pids)}, process.pid + '\\n')
const socket = ${JSON.stringify(findWorkspace().socket)}
const answer = JSON.stringify({ jsonrpc: '2.0', id: 0, result: { protocolVersion: 1, server: { name: 'fake', version: '0' }, workspace: 'w', capabilities: [] } })
const serve = () => net.createServer((client) => client.once('data', () => client.write('Content-Length: ' + answer.length + '\\r\\n\\r\\n' + answer)).on('error', () => {})).listen(socket)
${body}
`,
  )
  chmodSync(path, 0o755)
  return path
}

describe('autostart', () => {
  it('should start a daemon when none answers, say so, and leave it running on its own', async () => {
    const command = program('serve()')
    const onStarting = vi.fn()
    await using client = await connect({ autostart: { command, onStarting } })
    expect(client.server.server.name).toBe('fake')
    expect(onStarting).toHaveBeenCalledExactlyOnceWith(command)
    const pid = Number(readFileSync(pids, 'utf8'))
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')
    expect(Number(stat?.[3])).toBe(pid)
    await using second = await connect({ autostart: { command, onStarting } })
    expect(second.server.server.name).toBe('fake')
    expect(onStarting).toHaveBeenCalledTimes(1)
  })

  it('should not start anything unless asked to', async () => {
    await expect(connect()).rejects.toMatchObject({ code: 'daemon_unreachable' })
    expect(existsSync(pids)).toBe(false)
  })

  it('should say why the daemon did not start', async () => {
    const command = program(`console.error('config.toml:3: unknown key daemon.x'); process.exit(2)`)
    await expect(connect({ autostart: { command } })).rejects.toMatchObject({
      code: 'daemon_unreachable',
      message: 'the daemon did not start: it exited with code 2\nconfig.toml:3: unknown key daemon.x',
      next: expect.any(String),
    })
    await expect(connect({ autostart: { command } })).rejects.toThrow(/code 2\nconfig.toml:3: unknown key daemon.x$/)
  })

  it('should give up on one that does not answer in time, and on a program that does not exist', async () => {
    const command = program('setInterval(() => {}, 1000)')
    await expect(connect({ autostart: { command, timeoutMs: 200 } })).rejects.toMatchObject({
      code: 'daemon_unreachable',
      message: 'the daemon did not answer within 200 ms',
    })
    await expect(connect({ autostart: { command: join(directory, 'none') } })).rejects.toThrow(/cannot be started/)
  })

  it('should wait for the daemon that won when its own gave way', async () => {
    const command = program(`try { fs.mkdirSync(socket + '.lock'); setTimeout(serve, 300) } catch { process.exit(4) }`)
    const clients = await Promise.all(Array.from({ length: 5 }, () => connect({ autostart: { command } })))
    expect(clients).toHaveLength(5)
    await Promise.all(clients.map((client) => client.close()))
  })
})

describe('autostart by many clients at once', () => {
  const pidsOf = () => readFileSync(pids, 'utf8').trim().split('\n')

  it('should start one daemon, however long it takes', async () => {
    const command = program('setTimeout(serve, 500)')
    const clients = await Promise.all(Array.from({ length: 10 }, () => connect({ autostart: { command } })))
    expect(pidsOf()).toHaveLength(1)
    await Promise.all(clients.map((client) => client.close()))
  })

  it('should start another when the first one fails', async () => {
    const command = program(`if (fs.readFileSync(${JSON.stringify(pids)}, 'utf8').split('\\n').length > 2) serve()
else setTimeout(() => process.exit(1), 100)`)
    const clients = await Promise.allSettled(Array.from({ length: 5 }, () => connect({ autostart: { command } })))
    expect(clients.filter(({ status }) => status === 'rejected')).toHaveLength(1)
    expect(pidsOf()).toHaveLength(2)
    for (const client of clients) if (client.status === 'fulfilled') await client.value.close()
  })

  it('should not wait for ever for the one that starts it', async () => {
    const command = program('setInterval(() => {}, 1000)')
    const attempts = ['first', 'second'].map(() =>
      expect(connect({ autostart: { command, timeoutMs: 300 } })).rejects.toThrow(
        'the daemon did not answer within 300 ms',
      ),
    )
    await Promise.all(attempts)
  })
})

describe('findDaemon', () => {
  it('should take LOOPATD first, then an installed package, then PATH', () => {
    expect(findDaemon({ LOOPATD: '/opt/loopatd', PATH: directory })).toBe('/opt/loopatd')
    expect(findDaemon({ PATH: '' })).toMatch(/daemon\/bin\/loopatd$/)
  })
})
