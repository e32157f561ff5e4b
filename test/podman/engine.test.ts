import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ContractSubject, Workshop } from '../contract/subject.ts'
import { skipsPodman, smallImage, startPodman, type TestPodman } from '../harness/podman.ts'
import { ask } from '../harness/podman-ask.ts'

describe.skipIf(skipsPodman())('the podman engine', () => {
  const opened: (ContractSubject & { podman: TestPodman })[] = []
  const subject = () => {
    const [first] = opened
    if (first === undefined) throw new Error('podman was not started')
    return first
  }

  beforeAll(async () => {
    const podman = await startPodman()
    const image = await smallImage(podman.engine)
    opened.push({
      podman,
      engine: podman.engine,
      image: image.tag,
      directory: podman.directory,
      crash: () => podman.kill(),
      recover: () => podman.engine.ping(),
      [Symbol.asyncDispose]: async () => {
        await image[Symbol.asyncDispose]()
        await podman[Symbol.asyncDispose]()
      },
    })
  })

  afterAll(async () => {
    for (const each of opened) await each[Symbol.asyncDispose]()
  })

  it('should create what was asked for', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running({ hostname: 'my-loop', stopTimeoutSeconds: 9, workdir: '/home/loopat' })
    const native = await ask(subject().podman.socketPath, `/v4.0.0/libpod/containers/${name}/json`)
    expect(native).toMatchObject({
      Path: '/run/podman-init',
      Config: { Hostname: 'my-loop', StopTimeout: 9, User: '2000:2000', WorkingDir: '/home/loopat' },
      HostConfig: { Privileged: false },
    })
    expect((await shop.run(name, 'id; hostname; pwd; echo $HOME')).stdout).toBe(
      'uid=2000(loopat) gid=2000(loopat)\nmy-loop\n/home/loopat\n/home/loopat\n',
    )
  })

  it('should keep the writable layer of a container in an image, and nothing that was mounted', async () => {
    await using shop = new Workshop(subject())
    const { container } = shop.engine
    const source = join(subject().directory, 'mounted')
    await mkdir(source)
    const name = await shop.running({ mounts: [{ source, target: '/mnt/data', readOnly: false }] })
    await shop.run(name, 'echo one > /kept', { user: '0' })
    await shop.run(name, 'echo two > /mnt/data/file')
    await container.stop(name, 0)
    const tag = shop.imageTag('layer')
    await container.commit(name, tag)
    const again = await shop.running({ name: shop.containerName('again'), image: tag })
    const { stdout } = await shop.run(again, 'cat /kept /mnt/data/file')
    expect(stdout).toBe('one\n')
  })

  it('should share files with the user of the host, and only read where it may only read', async () => {
    await using shop = new Workshop(subject())
    const source = join(subject().directory, 'shared')
    await mkdir(source)
    await writeFile(join(source, 'from-host'), 'hello', { mode: 0o600 })
    const mounts = [
      { source, target: '/mnt/write', readOnly: false },
      { source, target: '/mnt/read', readOnly: true },
    ]
    const name = await shop.running({ mounts })
    const script = 'cat /mnt/read/from-host; echo inside > /mnt/write/from-loop; echo no > /mnt/read/other'
    const { stdout, stderr, exitCode } = await shop.run(name, script)
    expect(stdout).toBe('hello')
    expect(stderr).toContain('Read-only file system')
    expect(exitCode).not.toBe(0)
    expect(await readFile(join(source, 'from-loop'), 'utf8')).toBe('inside\n')
    expect((await stat(join(source, 'from-loop'))).uid).toBe(process.getuid?.())
  })

  it('should stop quickly, since an init process passes the signal on', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const began = performance.now()
    await shop.engine.container.stop(name, 30)
    expect(performance.now() - began).toBeLessThan(15_000)
  })

  it('should find a container by an alias in its network', async () => {
    await using shop = new Workshop(subject())
    const network = shop.networkName()
    await shop.engine.network.ensure({ name: network, labels: shop.labels, resolves: true })
    const named = (suffix: string) => ({
      name: shop.containerName(suffix),
      network: { kind: 'named', name: network, aliases: [`alias-${suffix}`] } as const,
    })
    await shop.running(named('one'))
    const two = await shop.running(named('two'))
    expect((await shop.run(two, 'nslookup alias-one')).stdout).toMatch(/Address.*10\./)
  })

  it('should run commands as another user and say which user is missing', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    expect((await shop.run(name, 'id -u', { user: 'root' })).stdout).toBe('0\n')
    const missing = shop.exec(name, 'true', { user: 'nobody-here' })
    await expect(missing).rejects.toMatchObject({ kind: 'failed', message: expect.stringContaining('nobody-here') })
  })

  it('should say that a working directory cannot be used', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    for (const cwd of ['/nowhere', '/etc/passwd']) {
      const exec = await shop.exec(name, 'true', { cwd })
      exec.stdout.resume()
      exec.stderr.resume()
      await expect(exec.exit).rejects.toMatchObject({
        kind: 'directory_unusable',
        message: expect.stringContaining(cwd),
      })
    }
  })

  it('should end processes of another user of the container', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, 'sleep 1234 & wait', { user: 'root' })
    exec.stdout.resume()
    exec.stderr.resume()
    expect(await exec.kill('SIGKILL')).toBe(true)
    expect(await exec.exit).toEqual({ exitCode: 137 })
  })

  it('should pass control characters on to a command without terminal', async () => {
    await using shop = new Workshop(subject())
    const name = await shop.running()
    const exec = await shop.exec(name, 'od -An -tx1', { stdin: true })
    exec.stdin.write('\x10')
    exec.stdin.end('\x11\x10\x11')
    const chunks: Buffer[] = []
    for await (const chunk of exec.stdout as AsyncIterable<Buffer>) chunks.push(chunk)
    expect(Buffer.concat(chunks).toString().trim()).toBe('10 11 10 11')
  })

  it('should notice at the start that a source of a mount was taken away by permission', async () => {
    await using shop = new Workshop(subject())
    const parent = join(subject().directory, 'closed')
    await mkdir(join(parent, 'source'), { recursive: true })
    const spec = shop.spec({ mounts: [{ source: join(parent, 'source'), target: '/mnt', readOnly: false }] })
    await shop.engine.container.create(spec)
    await chmod(parent, 0)
    await expect(shop.engine.container.start(spec.name)).rejects.toMatchObject({ kind: 'mount_missing' })
    await chmod(parent, 0o700)
  })

  it('should tell what can be limited', async () => {
    const info = await subject().engine.info()
    expect(info).toMatchObject({ rootless: true, networkBackend: 'netavark', storageDriver: expect.any(String) })
    expect(info.cgroupControllers).toBeInstanceOf(Array)
  })
})
