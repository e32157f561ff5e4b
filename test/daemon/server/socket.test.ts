import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { listenOn, prepareRuntimeDir } from '../../../daemon/server/socket.ts'
import { Peer } from '../../harness/peer.ts'

const mode = (path: string) => lstatSync(path).mode & 0o777
const uid = process.geteuid?.() ?? 0

let base: string
let umask: number
const servers: Server[] = []

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'loopat-socket-'))
  umask = process.umask()
})

afterEach(async () => {
  process.umask(umask)
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))))
  rmSync(base, { recursive: true, force: true })
})

function newServer(greeting = ''): Server {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.end(greeting)
  })
  servers.push(server)
  return server
}

async function greeting(path: string): Promise<string> {
  const peer = await Peer.connect(path)
  let text = ''
  peer.socket.on('data', (chunk) => {
    text += chunk.toString()
  })
  await peer.closed()
  return text
}

describe('prepareRuntimeDir', () => {
  it.each([0o000, 0o022, 0o077])('should make both directories private under umask %o', (mask) => {
    process.umask(mask)
    prepareRuntimeDir(join(base, 'loopat', 'ws'))
    expect(mode(join(base, 'loopat'))).toBe(0o700)
    expect(mode(join(base, 'loopat', 'ws'))).toBe(0o700)
  })

  it('should accept what is there, and close it to readers', () => {
    mkdirSync(join(base, 'loopat'))
    chmodSync(join(base, 'loopat'), 0o755)
    prepareRuntimeDir(join(base, 'loopat', 'ws'))
    prepareRuntimeDir(join(base, 'loopat', 'ws'))
    expect(mode(join(base, 'loopat'))).toBe(0o700)
  })

  it.each(['loopat', 'loopat/ws'])('should refuse a symbolic link at %s, wherever it leads', (name) => {
    const target = mkdtempSync(join(base, 'target-'))
    if (name.includes('/')) mkdirSync(join(base, 'loopat'), { mode: 0o700 })
    symlinkSync(target, join(base, name))
    expect(() => prepareRuntimeDir(join(base, 'loopat', 'ws'))).toThrow(
      expect.objectContaining({ code: 'storage_failed', message: expect.stringContaining('symbolic link') }),
    )
    expect(existsSync(join(target, 'ws'))).toBe(false)
  })

  it('should refuse what belongs to somebody else, can be written by others, or is a file', () => {
    const path = join(base, 'loopat', 'ws')
    prepareRuntimeDir(path)
    expect(() => prepareRuntimeDir(path, uid + 1)).toThrow(/belongs to uid/)
    chmodSync(path, 0o770)
    expect(() => prepareRuntimeDir(path)).toThrow(/others can write/)
    rmSync(path, { recursive: true })
    writeFileSync(path, '')
    expect(() => prepareRuntimeDir(path)).toThrow(/not a directory/)
  })

  it('should say so when the directory above does not exist', () => {
    expect(() => prepareRuntimeDir(join(base, 'none', 'loopat', 'ws'))).toThrow(
      expect.objectContaining({ code: 'storage_failed', message: expect.stringContaining(join(base, 'none')) }),
    )
  })
})

describe('listenOn', () => {
  it.each([0o000, 0o022, 0o077])(
    'should make a socket of mode 0600 under umask %o, and keep the umask',
    async (mask) => {
      process.umask(mask)
      const path = join(base, 's.sock')
      await listenOn(newServer('hello'), { path })
      expect(mode(path)).toBe(0o600)
      expect(process.umask()).toBe(mask)
      expect(await greeting(path)).toBe('hello')
    },
  )

  it('should replace the socket of a daemon that was killed', async () => {
    const path = join(base, 's.sock')
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
    expect(spawnSync(process.execPath, ['-e', script]).signal).toBe('SIGKILL')
    expect(lstatSync(path).isSocket()).toBe(true)
    await listenOn(newServer('new'), { path })
    expect(await greeting(path)).toBe('new')
  })

  it('should leave the socket of a newer daemon alone when it closes', async () => {
    const path = join(base, 's.sock')
    const old = newServer('old')
    const listening = await listenOn(old, { path })
    await listenOn(newServer('new'), { path })
    listening.remove()
    await new Promise((resolve) => old.close(resolve))
    servers.splice(servers.indexOf(old), 1)
    expect(await greeting(path)).toBe('new')
  })

  it('should remove its own socket, and nothing else', async () => {
    const path = join(base, 's.sock')
    const listening = await listenOn(newServer(), { path })
    listening.remove()
    listening.remove()
    expect(existsSync(path)).toBe(false)
  })

  it('should refuse a path that a file has', async () => {
    const path = join(base, 's.sock')
    writeFileSync(path, 'precious')
    await expect(listenOn(newServer(), { path })).rejects.toMatchObject({ code: 'storage_failed' })
    expect(lstatSync(path).isFile()).toBe(true)
  })

  it('should take 107 bytes and refuse 108', async () => {
    const fill = (bytes: number) => join(base, 'x'.repeat(bytes - Buffer.byteLength(base) - 1))
    await listenOn(newServer('long'), { path: fill(107) })
    expect(await greeting(fill(107))).toBe('long')
    await expect(listenOn(newServer(), { path: fill(108) })).rejects.toMatchObject({ code: 'config_invalid' })
    await expect(listenOn(newServer(), { path: fill(127) })).rejects.toMatchObject({ code: 'config_invalid' })
  })
})
