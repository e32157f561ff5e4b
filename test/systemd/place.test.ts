import { spawnSync } from 'node:child_process'
import { existsSync, lstatSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { giveAway, SystemdWorkspace, testBed } from '../harness/systemd.ts'
import { eventually } from '../harness/workspace.ts'
import { linkPrograms } from './program.ts'

const LOOP = '00000000-0000-4000-8000-000000000000'

let bed: string
let directory: string
let ws: SystemdWorkspace
/** Finds the real podman. */
let PATH: string

beforeAll(async () => {
  bed = await testBed()
  PATH = process.env.PATH ?? ''
  directory = await realpath(await mkdtemp(join(bed, 'place-')))
  // Places need no podman, and starts are quicker without it.
  const bin = await linkPrograms(await mkdtemp(join(directory, 'bin-')))
  ws = new SystemdWorkspace(bed, join(directory, 'ws'), { PATH: bin })
  await ws.ok('daemon', 'install')
})
beforeEach(async () => {
  await ws.stop()
  for (const path of [dirname(ws.workspace.runtimeDir), join(directory, 'target')]) {
    await rm(path, { recursive: true, force: true })
  }
})
afterAll(async () => {
  await ws.ok('daemon', 'uninstall')
  await rm(ws.workspace.runtimeDir, { recursive: true, force: true })
  await rm(directory, { recursive: true })
})

const mode = (path: string) => (lstatSync(path).mode & 0o777).toString(8)

/** Waits until a daemon that tries to start says why it cannot. */
async function complaint(): Promise<string> {
  let text = ''
  await eventually('the daemon says why it does not start', async () => {
    if ((await ws.property('ActiveState')) === 'activating') text = await ws.property('StatusText')
    return text !== ''
  })
  return text
}

/** Starts the daemon, which must not succeed, and must not be given up. @returns what it says */
async function failingStart(): Promise<string> {
  await ws.systemctl('start', '--no-block', ws.socket, ws.service)
  const text = await complaint()
  expect(await ws.property('ActiveState')).not.toBe('failed')
  return text
}

/** Settings with which the daemon sees its home on a file system that is read-only; nobody else does. */
function onReadOnlyHome(home: string, program: string): string {
  const script = '/bin/mount --bind "$$0" "$$0" && /bin/mount -o remount,bind,ro "$$0" && exec "$$1"'
  const unshare = '/usr/bin/unshare --user --map-current-user --keep-caps --mount'
  return `ExecStart=\nExecStart=${unshare} /bin/sh -c '${script}' ${home} ${program}`
}

/** Makes a private directory, and a link to it in place of another one. */
async function linkTo(target: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await mkdir(target, { mode: 0o700 })
  await symlink(target, path)
}

async function leaveStaleSocket(path: string): Promise<void> {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
  expect(spawnSync(process.execPath, ['-e', script]).signal).toBe('SIGKILL')
  expect(lstatSync(path).isSocket()).toBe(true)
}

describe('the places of an installed daemon', () => {
  it.each(['0000', '0002', '0022', '0077'])('should be closed to others under umask %s', async (umask) => {
    const { home, runtimeDir, socket } = ws.workspace
    await using _settings = await ws.settings(`UMask=${umask}`)
    await rm(home, { recursive: true, force: true })
    await rm(dirname(runtimeDir), { recursive: true, force: true })
    await ws.start()
    const directories = [
      dirname(runtimeDir),
      runtimeDir,
      ...['', 'log', 'loops', 'mirrors'].map((name) => join(home, name)),
    ]
    const files = ['.lock', 'config.toml', 'log/loopatd.log'].map((name) => join(home, name))
    const wanted = [
      ...directories.map((path) => [path, '700']),
      ...[socket, `${socket}.lock`, ...files].map((path) => [path, '600']),
    ]
    expect(wanted.map(([path = '']) => [path, mode(path)])).toEqual(wanted)
  })

  it('should be closed to others where the daemon has to make a socket of its own', async () => {
    const { socket } = ws.workspace
    await using _settings = await ws.settings('UMask=0000\nRestartSec=100ms')
    await ws.start()
    await rm(socket)
    process.kill(await ws.mainPid(), 'SIGKILL')
    await eventually('the next daemon has made a socket', async () => existsSync(socket))
    await ws.ok('ls')
    expect(mode(socket)).toBe('600')
  })

  it('should take nothing stale for a daemon', async () => {
    const { home, runtimeDir, socket } = ws.workspace
    await mkdir(join(runtimeDir, 'control', LOOP), { recursive: true })
    for (const path of [socket, join(runtimeDir, '.new.sock'), join(runtimeDir, 'podman.sock')]) {
      await leaveStaleSocket(path)
    }
    for (const path of [`${socket}.lock`, join(home, '.lock'), join(runtimeDir, 'podman.pid')]) {
      await writeFile(path, '{"pid": 1, "socket": ')
    }
    await ws.start()
    expect(await ws.answeringPid()).toBe(await ws.mainPid())
    expect(mode(socket)).toBe('600')
  })

  it('should not be links, wherever they lead', async () => {
    const { runtimeDir } = ws.workspace
    const target = join(directory, 'target')
    for (const path of [runtimeDir, dirname(runtimeDir)]) {
      await rm(path, { recursive: true, force: true })
      await linkTo(target, path)
      expect(await failingStart()).toContain(`${path} cannot hold the daemon's socket: it is a symbolic link`)
      await ws.stop()
      expect(await readdir(target, { recursive: true })).not.toContain('loopatd.sock.lock')
      await rm(path)
      await rm(target, { recursive: true })
    }
    await ws.start()
  })

  it('should say so to who starts the daemon, and at once when that is about to be restarted', async () => {
    const { home, runtimeDir } = ws.workspace
    await linkTo(join(directory, 'target'), runtimeDir)
    const started = await ws.loopctl('daemon', 'start')
    expect(started).toMatchObject({ code: 6 })
    expect(started.stderr).toContain(`${runtimeDir} cannot hold the daemon's socket: it is a symbolic link`)
    await ws.stop()
    await rm(runtimeDir)
    await ws.start()
    const pid = await ws.mainPid()
    const config = join(home, 'config.toml')
    await writeFile(config, '# broken\nnonsense = 1\n')
    for (const command of ['restart', 'install']) {
      const { code, stderr } = await ws.loopctl('daemon', command)
      expect(code).toBe(2)
      expect(stderr).toContain(`${config}:2: unknown key nonsense`)
    }
    expect(await ws.answeringPid()).toBe(pid)
    await writeFile(config, '')
  })

  it("should be the user's own", async () => {
    const { home, runtimeDir } = ws.workspace
    const env = { ...ws.env, PATH }
    const foreign = async (path: string, permissions: number) => {
      await mkdir(path, { recursive: true })
      await chmod(path, permissions)
      await giveAway(path, 1, env)
      return {
        [Symbol.asyncDispose]: async () => {
          await ws.stop()
          await giveAway(path, 0, env)
          await chmod(path, 0o700)
        },
      }
    }
    for (const path of [runtimeDir, dirname(runtimeDir)]) {
      await using _foreign = await foreign(path, 0o777)
      expect(await failingStart()).toMatch(/it belongs to uid \d+, not to uid \d+/)
    }
    {
      await using _foreign = await foreign(home, 0o777)
      expect(await failingStart()).toMatch(/ws cannot be the home of a workspace: it belongs to uid \d+/)
    }
    {
      // Here systemd itself cannot make the socket.
      await using _foreign = await foreign(runtimeDir, 0o755)
      const { code, stderr } = await ws.loopctl('daemon', 'start')
      expect(code).toBe(6)
      expect(stderr).toMatch(/it belongs to uid \d+, not to uid \d+/)
    }
    await ws.start()
  })

  it('should have a socket path of 107 bytes at most', async () => {
    await ws.start()
    // systemd's own directory stays; another way to it makes the path as long as it is wanted.
    const rest = Buffer.byteLength(ws.workspace.socket) - Buffer.byteLength(join(bed, 'run'))
    const link = (bytes: number) => join(directory, 'x'.repeat(bytes - rest - Buffer.byteLength(directory) - 1))
    for (const bytes of [107, 108]) await symlink(join(bed, 'run'), link(bytes))
    const longest = await ws.loopctlWith({ XDG_RUNTIME_DIR: link(107) }, 'daemon', 'status', '--json')
    expect(JSON.parse(longest.stdout)).toMatchObject({ pid: await ws.mainPid() })
    const { code, stderr } = await ws.loopctlWith({ XDG_RUNTIME_DIR: link(108) }, 'ls')
    expect(code).toBe(2)
    expect(stderr).toMatch(/has 108 bytes; unix sockets allow 107\n.*Set XDG_RUNTIME_DIR to a shorter path/)
    await ws.stop()
    await using _settings = await ws.settings(`Environment=XDG_RUNTIME_DIR=${link(108)}`)
    expect(await failingStart()).toContain('has 108 bytes; unix sockets allow 107')
    await ws.stop()
  })

  it('should be served by one daemon, also where it listens elsewhere, and say which', async () => {
    await ws.start()
    const pid = await ws.mainPid()
    const { code, stderr } = await ws.loopatd({ XDG_RUNTIME_DIR: directory })
    expect(code).toBe(4)
    expect(stderr).toContain(`another daemon serves the workspace ${ws.workspace.name}`)
    expect(stderr).toContain(`: pid ${pid}, on ${ws.workspace.socket}\n`)
    expect(stderr).toContain(`kill ${pid}`)
    expect(await ws.answeringPid()).toBe(pid)
    await ws.ok('ls')
  })

  it('should be served while they are read-only', async () => {
    const { home } = ws.workspace
    const all = ['', 'log', 'loops', 'mirrors'].map((name) => join(home, name))
    const restore = async () => {
      for (const path of all) await chmod(path, 0o700)
    }
    await using _restored = { [Symbol.asyncDispose]: restore }
    for (const path of all) await chmod(path, 0o500)
    await ws.start()
    const { storage } = JSON.parse(await ws.ok('daemon', 'status', '--json'))
    expect(storage).toMatchObject({ writable: false, reason: expect.stringContaining('EACCES') })
    await ws.stop()
    await restore()
    // The file system itself, as far as the daemon sees.
    await using _settings = await ws.settings(onReadOnlyHome(home, ws.env.LOOPATD ?? ''))
    await ws.start()
    const status = JSON.parse(await ws.ok('daemon', 'status', '--json'))
    expect(status.storage).toMatchObject({ writable: false, reason: expect.stringContaining('EROFS') })
    expect((await ws.loopatd()).code).toBe(4)
    await ws.stop()
  })

  it('should be served with files in them that hold something else', async () => {
    const { home, runtimeDir } = ws.workspace
    const contents = ['', '{"half":', 'null', '[]', '\0\xff'.repeat(5000), '{"version": 99}']
    for (const [index, content] of contents.entries()) {
      const loop = join(home, 'loops', `${LOOP.slice(0, -1)}${index}`)
      await mkdir(loop)
      await writeFile(join(loop, 'meta.json'), content)
    }
    await mkdir(join(home, 'loops', LOOP.replace('0', 'a'), 'meta.json'), { recursive: true })
    await writeFile(join(home, '.lock'), '\0'.repeat(10_000))
    await mkdir(runtimeDir, { recursive: true, mode: 0o700 })
    await writeFile(join(runtimeDir, 'podman.pid'), 'none')
    await rm(join(home, 'log'), { recursive: true })
    await mkdir(join(home, 'log', 'loopatd.log'), { recursive: true })
    await ws.start()
    const { loops } = JSON.parse(await ws.ok('daemon', 'status', '--json'))
    expect(loops).toMatchObject({ total: contents.length + 1, broken: contents.length + 1 })
    expect((await ws.ok('ls', '--all')).match(/broken/g)?.length).toBeGreaterThan(contents.length)
  })
})
