import { existsSync, lstatSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '@loopatd/client'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createPodmanEngine } from '../../daemon/engine/podman/podman-engine.ts'
import { smallImage } from '../harness/podman.ts'
import { killAndUse, SystemdWorkspace, testBed } from '../harness/systemd.ts'
import { eventually } from '../harness/workspace.ts'
import { linkPrograms } from './program.ts'

let bed: string
let own: SystemdWorkspace

beforeAll(async () => {
  bed = await testBed()
  own = new SystemdWorkspace(bed)
  await own.ok('daemon', 'install')
})

afterAll(() => own.remove())

const mode = (path: string) => (lstatSync(path).mode & 0o777).toString(8)

describe('the installed daemon', () => {
  it('should be ready when systemd says that it runs, on the socket of systemd', async () => {
    expect(await own.property('ActiveState')).toBe('active')
    expect(await own.property('ActiveState', own.socket)).toBe('active')
    expect(await own.answeringPid()).toBe(await own.mainPid())
    expect([mode(own.workspace.socket), mode(own.workspace.runtimeDir)]).toEqual(['600', '700'])
  })

  it('should be installed a second time without a restart', async () => {
    const pid = await own.mainPid()
    expect(await own.ok('daemon', 'install')).toBe(own.service)
    expect(await own.answeringPid()).toBe(pid)
  })

  it('should keep its socket while it restarts, and give it up when it is stopped', async () => {
    const { ino } = lstatSync(own.workspace.socket)
    const pid = await own.answeringPid()
    const next = Number(await own.ok('daemon', 'restart'))
    expect(next).not.toBe(pid)
    expect(await own.mainPid()).toBe(next)
    expect(lstatSync(own.workspace.socket).ino).toBe(ino)
    await own.ok('daemon', 'stop')
    expect(await own.property('ActiveState')).toBe('inactive')
    expect(existsSync(own.workspace.socket)).toBe(false)
    expect((await own.loopctl('daemon', 'status')).code).toBe(6)
    expect((await own.loopctl('daemon', 'stop')).stderr).toBe('No daemon runs.\n')
  })

  it('should be started through systemd by a client that finds none', async () => {
    await own.ok('ls')
    expect(await own.answeringPid()).toBe(await own.mainPid())
  })

  it('should be stopped and started as often as somebody likes', async () => {
    for (let times = 0; times < 7; times += 1) {
      await own.systemctl('stop', own.socket, own.service)
      await own.systemctl('start', own.socket)
    }
    await own.ok('ls')
  })

  it('should be started by the first of 200 clients, and serve them all', async () => {
    await own.systemctl('stop', own.service)
    expect(await own.mainPid()).toBe(0)
    const { socket } = own.workspace
    const clients = Array.from({ length: 200 }, async () => {
      await using client = await connect({ socket, handshakeMs: 30_000 })
      return (await client.daemon.status()).pid
    })
    const [listed, ...pids] = await Promise.all([own.loopctl('ls'), ...clients])
    expect(listed).toMatchObject({ code: 0 })
    expect(new Set(pids)).toEqual(new Set([await own.mainPid()]))
  })

  it('should end a second daemon of the same home, and go on itself', async () => {
    const pid = await own.mainPid()
    const { code, stderr } = await own.loopatd()
    expect(code).toBe(4)
    expect(stderr).toContain('another daemon serves the workspace')
    expect(await own.answeringPid()).toBe(pid)
  })

  it('should be reached again after its socket was removed', async () => {
    const pid = await own.mainPid()
    await rm(own.workspace.socket)
    process.kill(pid, 'SIGKILL')
    await eventually('systemd runs the next daemon', async () => ![0, pid].includes(await own.mainPid()))
    await eventually('its socket is there', async () => existsSync(own.workspace.socket))
    expect(await own.answeringPid()).toBe(await own.mainPid())
    await own.ok('daemon', 'stop')
    await own.ok('daemon', 'start')
    expect(await own.property('ActiveState', own.socket)).toBe('active')
  })

  it('should be back after kills in a row, and never have failed', async () => {
    await using _settings = await own.withSettings('RestartSec=100ms')
    await killAndUse(own, 5)
  })

  it('should stop when it is told to while it starts', async () => {
    await own.systemctl('stop', own.service)
    await own.systemctl('start', '--no-block', own.service)
    let pid = 0
    await eventually('systemd starts the daemon', async () => {
      pid = await own.mainPid()
      return pid !== 0
    })
    process.kill(pid, 'SIGTERM')
    await eventually('the daemon has ended', async () => !existsSync(`/proc/${pid}`))
    await own.ok('ls')
  })

  it('should run podman as a unit that outlives it, and start it again, with variables that nobody else can read', async () => {
    await using _settings = await own.withSettings('Environment=https_proxy=http://me:hunter2@proxy.invalid')
    await own.podman.end()
    const running = async () => {
      const pattern = `loopat-podman-${own.workspace.name}-*.service`
      const listed = await own.systemctl('list-units', '--plain', '--no-legend', '--state=running', pattern)
      return listed.split(' ')[0] ?? ''
    }
    const answers = async () => {
      const { engine } = JSON.parse(await own.ok('daemon', 'status', '--json'))
      return engine.state === 'up' && engine.owned && (await running()) !== ''
    }
    await eventually('podman runs as a unit', answers)
    const unit = await running()
    const pid = await own.mainPid()
    const podman = Number(await own.property('MainPID', unit))
    expect(podman).toBe(await own.podman.pid())
    expect(await readFile(`/proc/${podman}/environ`, 'utf8')).toContain('https_proxy=http://me:hunter2@proxy.invalid')
    expect(await own.property('ControlGroup', unit)).not.toContain(own.service)
    process.kill(pid, 'SIGKILL')
    await own.ok('ls')
    expect(await own.property('MainPID', unit)).toBe(String(podman))
    await own.systemctl('stop', unit)
    await eventually('the daemon has started podman again', async () => (await answers()) && (await running()) !== unit)
  })

  it('should be replaced by the watchdog when it hangs', async () => {
    await using _settings = await own.withSettings('WatchdogSec=4')
    const pid = await own.mainPid()
    const began = performance.now()
    process.kill(pid, 'SIGSTOP')
    await eventually('systemd runs the next daemon', async () => ![0, pid].includes(await own.mainPid()))
    // What is promised: the watchdog's time and five seconds.
    expect(performance.now() - began).toBeLessThan(9000)
    await own.ok('ls')
    expect(await own.property('Result')).toBe('success')
    expect(await own.property('NRestarts')).toBe('1')
  })
})

describe('the daemon of another home', () => {
  let directory: string
  let other: SystemdWorkspace

  beforeAll(async () => {
    directory = await mkdtemp(join(bed, 'home with % and " '))
    other = new SystemdWorkspace(bed, join(directory, 'ws'))
  })
  beforeEach(async () => void (await other.ok('daemon', 'install')))
  afterAll(async () => {
    await other.remove()
    await rm(directory, { recursive: true })
  })

  it('should leave loops running, whatever becomes of the daemon', async () => {
    const image = 'localhost/loopat-test-systemd:1'
    // Answered as soon as podman is there.
    await other.ok('rpc', 'image/status', '{}')
    await smallImage(createPodmanEngine({ socketPath: () => other.podman.socketPath }), image)
    await writeFile(join(other.workspace.home, 'config.toml'), `image.name = "${image}"\n`)
    await other.ok('daemon', 'restart')
    await other.ok('create', '--name', 'kept', 'a loop')
    await other.ok('exec', 'kept', '--', 'sh', '-c', 'echo here >/tmp/mark')
    process.kill(await other.mainPid(), 'SIGKILL')
    expect(await other.ok('exec', 'kept', '--', 'cat', '/tmp/mark')).toBe('here')
    await other.ok('daemon', 'restart')
    expect(await other.ok('exec', 'kept', '--', 'cat', '/tmp/mark')).toBe('here')
    await other.ok('daemon', 'uninstall')
    expect((await other.podman.pid()) ?? 0).toBeGreaterThan(0)
    await other.ok('daemon', 'install')
    expect(await other.ok('exec', 'kept', '--', 'cat', '/tmp/mark')).toBe('here')
    await other.ok('rm', '--force', 'kept')
  })

  it('should not be taken for one that hangs when podman is missing', async () => {
    const bin = await linkPrograms(await mkdtemp(join(bed, 'bin-')))
    await using _settings = await other.withSettings(`WatchdogSec=4\nEnvironment=PATH=${bin}`)
    const pid = await other.mainPid()
    await other.podman.end()
    await sleep(9000)
    expect(await other.answeringPid()).toBe(pid)
    const { engine } = JSON.parse(await other.ok('daemon', 'status', '--json'))
    expect(engine.state).toBe('down')
    await rm(bin, { recursive: true })
  })

  it('should stay when another home loses its daemon, and the other way round', async () => {
    expect(await other.answeringPid()).toBe(await other.mainPid())
    const pid = await own.answeringPid()
    expect(await other.mainPid()).not.toBe(pid)
    await own.ok('daemon', 'uninstall')
    expect(await other.answeringPid()).toBe(await other.mainPid())
    expect((await readdir(own.units)).filter((name) => /^loopatd\.s/.test(name))).toEqual([])
    await own.ok('daemon', 'install')
    await other.ok('daemon', 'uninstall')
    expect((await readdir(own.units)).filter((name) => name.startsWith('loopatd@'))).toEqual([])
    expect(await own.answeringPid()).toBe(await own.mainPid())
    expect((await other.loopctl('daemon', 'uninstall')).stderr).toBe('The daemon is not installed.\n')
  })

  it('should serve a home that is damaged: a loop that cannot be read, a directory that cannot be written', async () => {
    const loop = join(other.workspace.home, 'loops', '00000000-0000-4000-8000-000000000000')
    await mkdir(loop)
    await writeFile(join(loop, 'meta.json'), '{"half":')
    await chmod(join(other.workspace.home, 'loops'), 0o500)
    await other.ok('daemon', 'restart')
    expect(await other.ok('ls', '--all')).toContain('broken')
    expect(await other.answeringPid()).toBe(await other.mainPid())
    await chmod(join(other.workspace.home, 'loops'), 0o700)
    await rm(loop, { recursive: true })
  })

  it('should start as soon as a configuration that cannot be read is corrected', async () => {
    const path = join(other.workspace.home, 'config.toml')
    await other.systemctl('stop', other.service)
    await writeFile(path, 'nonsense = 1\n')
    const listed = other.loopctl('ls')
    await eventually('the daemon has tried', async () => Number(await other.property('NRestarts')) > 0)
    expect(await other.property('ActiveState', other.socket)).toBe('active')
    await writeFile(path, '')
    expect(await listed).toMatchObject({ code: 0 })
  })

  it('should take over from a daemon in the background', async () => {
    await other.ok('daemon', 'uninstall')
    const pid = Number(await other.ok('daemon', 'start'))
    expect(await other.property('ActiveState')).toBe('inactive')
    await other.ok('daemon', 'install')
    expect(await other.mainPid()).not.toBe(pid)
    expect(await other.answeringPid()).toBe(await other.mainPid())
    expect(existsSync(`/proc/${pid}`)).toBe(false)
  })

  it('should leave files of somebody else alone', async () => {
    await other.ok('daemon', 'uninstall')
    const path = join(other.units, 'loopatd@.service')
    await writeFile(path, '[Service]\nExecStart=true\n')
    const { code, stderr } = await other.loopctl('daemon', 'install')
    expect(code).toBe(2)
    expect(stderr).toContain(`${path} was not written by loopctl`)
    expect(await readFile(path, 'utf8')).toBe('[Service]\nExecStart=true\n')
    await rm(path)
  })
})
