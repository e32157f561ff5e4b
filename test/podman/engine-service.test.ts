import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createPodmanEngine } from '../../daemon/engine/podman/podman-engine.ts'
import { PodmanService, type PodmanServiceOptions, type PodmanState } from '../../daemon/engine/podman/service.ts'
import { Workshop } from '../contract/subject.ts'
import { skipsPodman, smallImage } from '../harness/podman.ts'

describe.skipIf(skipsPodman())('the podman service', () => {
  const services: PodmanService[] = []
  let directory = ''

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-service-'))
  })

  afterEach(async () => {
    for (const service of services.splice(0)) {
      await service.dispose()
      await service.own.end()
    }
    await rm(directory, { recursive: true, force: true })
  })

  it('should be started where none answers, and adopted by the next daemon', async () => {
    const first = make()
    expect(() => first.socketPath()).toThrow(expect.objectContaining({ kind: 'unavailable' }))
    await first.start()
    const version = expect.stringMatching(/^\d+\.\d+\.\d+/)
    expect(first.state).toEqual({ kind: 'up', socketPath: first.own.socketPath, isOurs: true, version })
    const pid = await first.own.pid()
    expect(pid).toBeGreaterThan(0)
    await first.dispose()

    const second = make()
    await second.start()
    expect(await second.own.pid()).toBe(pid)
    await createPodmanEngine({ socketPath: second.socketPath() }).ping()
  })

  it('should write its own configuration and leave few processes behind', async () => {
    await make().start()
    const conf = await readFile(join(directory, 'run', 'containers.conf'), 'utf8')
    expect(conf).toContain('network_backend = "netavark"')
    expect(conf).toContain('exit_command_delay = 10')
  })

  it('should be ended whole, also when its first process is gone', async () => {
    const service = make()
    await service.start()
    process.kill(await pidOf(service), 'SIGKILL')
    await service.own.end()
    expect(await service.own.pid()).toBeUndefined()
    await expect(createPodmanEngine({ socketPath: service.own.socketPath }).ping()).rejects.toMatchObject({
      kind: 'unavailable',
    })
  })

  it('should prefer a service that answers already', async () => {
    const theirs = make()
    await theirs.start()
    const ours = make({
      runtimeDir: join(directory, 'other'),
      candidates: [{ socketPath: '/nowhere.sock' }, { socketPath: theirs.socketPath() }],
    })
    await ours.start()
    expect(ours.state).toMatchObject({ kind: 'up', socketPath: theirs.socketPath(), isOurs: false })
    expect(ours.state).toHaveProperty(
      'version',
      (await createPodmanEngine({ socketPath: theirs.socketPath() }).info()).version,
    )
    expect(await ours.own.pid()).toBeUndefined()
  })

  it('should come back when it is killed, and say so', async () => {
    const service = make()
    await service.start()
    const states: PodmanState['kind'][] = []
    service.supervise(({ kind }) => states.push(kind))
    const engine = createPodmanEngine({ socketPath: () => service.socketPath() })
    const pid = await pidOf(service)
    process.kill(-pid, 'SIGKILL')
    // A call that comes in between waits instead of failing.
    expect(await engine.container.list({ none: 'such' })).toEqual([])
    await expect.poll(() => states, { timeout: 20_000 }).toEqual(['down', 'up'])
    expect(await service.own.pid()).not.toBe(pid)
    await engine.ping()
  })

  it('should see running containers whole after it was killed again and again, and so should a service beside it', async () => {
    const service = make()
    await service.start()
    service.supervise(() => undefined)
    const engine = createPodmanEngine({ socketPath: () => service.socketPath() })
    await using image = await smallImage(engine)
    const crash = async () => void process.kill(-(await pidOf(service)), 'SIGKILL')
    const recover = async () => void (await expect.poll(() => service.state.kind, { timeout: 20_000 }).toBe('up'))
    await using shop = new Workshop({
      engine,
      image: image.tag,
      directory,
      crash,
      recover,
      [Symbol.asyncDispose]: recover,
    })
    const name = shop.networkName()
    await engine.network.ensure({ name, labels: shop.labels, resolves: true })
    const network = { kind: 'named', name, aliases: [] } as const
    const containers: string[] = []
    for (const suffix of ['one', 'two']) {
      containers.push(await shop.running({ name: shop.containerName(suffix), network }))
      await crash()
      await expect.poll(() => service.state.kind, { timeout: 20_000 }).toBe('down')
      await recover()
    }
    const beside = make({ runtimeDir: join(directory, 'other') })
    await beside.start()
    for (const socketPath of [service.socketPath(), beside.socketPath()]) {
      const view = createPodmanEngine({ socketPath })
      const listed = await view.container.list(shop.labels)
      expect(listed.map(({ name, status }) => [name, status]).sort()).toEqual(containers.map((one) => [one, 'running']))
      for (const container of containers) {
        // A user of the image is looked up in its file system.
        const spec = { command: ['/bin/sh', '-c', 'exit 7'], user: 'loopat', env: {}, stdin: false }
        const exec = await view.container.exec(container, spec)
        exec.stdout.resume()
        exec.stderr.resume()
        expect(await exec.exit).toEqual({ exitCode: 7 })
        exec.close()
      }
    }
  })

  it('should be replaced by our own when a service of somebody else does not come back', async () => {
    const theirs = make()
    await theirs.start()
    const ours = make({
      runtimeDir: join(directory, 'other'),
      candidates: [{ socketPath: theirs.socketPath(), setting: 'engine.socket' }],
    })
    await ours.start()
    ours.supervise(() => undefined)
    await theirs.own.end()
    await expect
      .poll(() => ours.state, { timeout: 30_000, interval: 100 })
      .toEqual({
        kind: 'up',
        version: expect.stringMatching(/^\d+\.\d+\.\d+/),
        socketPath: ours.own.socketPath,
        isOurs: true,
        warning: `podman does not answer on ${theirs.own.socketPath}, which engine.socket names (ENOENT)`,
      })
  })

  it('should not take a foreign process for itself', async () => {
    const service = make()
    await service.start()
    await service.own.end()
    await writeFile(join(directory, 'run', 'podman.pid'), JSON.stringify({ pid: process.pid, startTime: '1' }))
    expect(await service.own.pid()).toBeUndefined()
    await writeFile(join(directory, 'run', 'podman.pid'), '{"pid":')
    expect(await service.own.pid()).toBeUndefined()
    await service.start()
    expect(await service.own.pid()).toBeGreaterThan(0)
  })

  it('should say that podman is not installed, and come up when it is', async () => {
    const env = { ...process.env, PATH: '/nowhere' }
    const service = make({ env })
    await expect(service.start()).rejects.toMatchObject({
      kind: 'unavailable',
      message: expect.stringContaining('apt-get install podman'),
    })
    expect(() => service.socketPath()).toThrow(/not installed/)
    const states: PodmanState[] = []
    service.supervise((state) => states.push(state))
    env.PATH = process.env.PATH ?? ''
    await expect.poll(() => service.state.kind, { timeout: 30_000 }).toBe('up')
    expect(states.map(({ kind }) => kind)).toEqual(['up'])
  })

  it('should say why podman ended at once', async () => {
    const env = { ...process.env, CONTAINERS_STORAGE_CONF: join(directory, 'storage.conf') }
    await writeFile(env.CONTAINERS_STORAGE_CONF, 'this is no toml')
    await expect(make({ env }).start()).rejects.toMatchObject({
      kind: 'unavailable',
      message: expect.stringMatching(/podman ended at once: .*toml/s),
    })
  })

  it('should stop looking when told', async () => {
    const reason = new Error('enough')
    await expect(make().start(AbortSignal.abort(reason))).rejects.toBe(reason)
  })

  /** @throws Error when it does not run: there is no number that could be killed in its place */
  async function pidOf({ own }: PodmanService): Promise<number> {
    const pid = await own.pid()
    if (pid === undefined) throw new Error('no podman service runs')
    return pid
  }

  function make(options: Partial<PodmanServiceOptions> = {}): PodmanService {
    const service = new PodmanService({
      candidates: [],
      runtimeDir: join(directory, 'run'),
      logDir: join(directory, 'log'),
      env: process.env,
      launcher: 'detached',
      ...options,
    })
    services.push(service)
    return service
  }
})
