import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, type Readable } from 'node:stream'
import { pack } from 'tar-stream'
import type { Engine, ImageDetails } from '../../daemon/engine/engine.ts'
import { createPodmanEngine } from '../../daemon/engine/podman/podman-engine.ts'
import { PodmanService } from '../../daemon/engine/podman/service.ts'

/**
 * Reports whether suites that need podman are to be left out, and says so. Only the user decides that, by
 * `LOOPAT_TEST_NO_PODMAN=1`; a podman that does not work is a failure.
 */
export function skipsPodman(): boolean {
  if (process.env.LOOPAT_TEST_NO_PODMAN !== '1') return false
  console.warn('LOOPAT_TEST_NO_PODMAN=1: the suites that need podman are left out')
  return true
}

/** A podman service for one test file. */
export interface TestPodman extends AsyncDisposable {
  readonly engine: Engine
  readonly service: PodmanService
  /** Its socket, for tests that start a daemon of their own. */
  readonly socketPath: string
  /** Directory for whatever the test mounts or writes; removed in the end. */
  readonly directory: string
  /** Ends the service at once, as a crash does. */
  kill(): Promise<void>
}

/**
 * Starts a real, rootless podman service of the current user, the same way the daemon does. The container store is the
 * user's own. Disposal ends the service; what a test makes in it, it removes itself.
 * @throws Error with the reason when there can be none
 */
export async function startPodman(): Promise<TestPodman> {
  if (process.getuid?.() === 0) throw new Error('tests with podman need an unprivileged user: run `npm test`')
  const directory = await mkdtemp(join(tmpdir(), 'loopat-podman-'))
  const service = new PodmanService({
    candidates: [],
    runtimeDir: join(directory, 'run'),
    logDir: join(directory, 'log'),
    env: process.env,
    launcher: 'detached',
  })
  const remove = async () => {
    await service.dispose()
    await service.own.end()
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await service.start()
  } catch (error) {
    await remove()
    throw error
  }
  return {
    engine: createPodmanEngine({ socketPath: () => service.socketPath() }),
    service,
    socketPath: service.own.socketPath,
    directory,
    kill: async () => {
      const pid = await service.own.pid()
      if (pid !== undefined) process.kill(-pid, 'SIGKILL')
    },
    [Symbol.asyncDispose]: remove,
  }
}

/** An image in the store until it is disposed. */
export interface TestImage extends ImageDetails, AsyncDisposable {
  readonly tag: string
}

/** Programs of busybox that the image links. */
const LINKS = [
  'ash',
  'awk',
  'base64',
  'cat',
  'chmod',
  'cp',
  'cut',
  'date',
  'dd',
  'echo',
  'env',
  'expr',
  'false',
  'find',
  'grep',
  'head',
  'hostname',
  'id',
  'kill',
  'ln',
  'ls',
  'md5sum',
  'mkdir',
  'mkfifo',
  'mktemp',
  'mv',
  'nohup',
  'nslookup',
  'od',
  'printf',
  'ps',
  'pwd',
  'readlink',
  'rm',
  'rmdir',
  'sed',
  'seq',
  'setsid',
  'sh',
  'sha256sum',
  'sleep',
  'sort',
  'stat',
  'stty',
  'tail',
  'tar',
  'tee',
  'test',
  'timeout',
  'touch',
  'tr',
  'true',
  'tty',
  'uname',
  'wc',
  'whoami',
  'xargs',
  'yes',
]

/**
 * Imports a tiny image: a static busybox, and the user loopat 2000:2000. Takes well under a second.
 * @param tag fully qualified name with tag; default: one of its own
 */
export async function smallImage(
  engine: Engine,
  tag = `localhost/loopat-test-small:${process.pid}`,
): Promise<TestImage> {
  const details = await engine.image.import(await smallRootfs(), tag)
  return { ...details, tag, [Symbol.asyncDispose]: () => engine.image.untag(tag) }
}

/**
 * Imports a tiny image that nobody made for loops: no bash, no user of ours, no place for homes.
 * @param tag fully qualified name with tag
 */
export async function bareImage(engine: Engine, tag: string): Promise<TestImage> {
  const details = await engine.image.import(await smallRootfs(true), tag)
  return { ...details, tag, [Symbol.asyncDispose]: () => engine.image.untag(tag) }
}

/**
 * The root file system of {@link smallImage} as a tar.
 * @param isBare without the user loopat and without a place for homes, as images are that nobody made for loops
 */
export async function smallRootfs(isBare = false): Promise<Readable> {
  if (!existsSync('/bin/busybox'))
    throw new Error('tests with podman need /bin/busybox: apt-get install busybox-static')
  const tar = pack()
  for (const name of ['bin', 'dev', 'etc', 'proc', 'run', 'sys', 'usr', 'usr/bin', 'var']) directory(tar, name, 0o755)
  directory(tar, 'tmp', 0o1777)
  if (!isBare) {
    directory(tar, 'home', 0o755)
    tar.entry({ name: 'home/loopat', type: 'directory', mode: 0o755, uid: 2000, gid: 2000 })
  }
  const busybox = await readFile('/bin/busybox')
  tar.entry({ name: 'bin/busybox', mode: 0o755 }, busybox)
  for (const link of LINKS) tar.entry({ name: `bin/${link}`, type: 'symlink', linkname: 'busybox' })
  tar.entry({ name: 'usr/bin/env', type: 'symlink', linkname: '/bin/busybox' })
  const user = isBare ? '' : 'loopat:x:2000:2000:loopat:/home/loopat:/bin/sh\n'
  file(tar, 'etc/passwd', `root:x:0:0:root:/root:/bin/sh\n${user}`)
  file(tar, 'etc/group', `root:x:0:\n${isBare ? '' : 'loopat:x:2000:\n'}`)
  // For tests of what cannot be executed.
  file(tar, 'etc/not-executable', 'no program\n')
  tar.entry({ name: 'etc/loopat-busybox', mode: 0o644 }, createHash('sha256').update(busybox).digest('hex'))
  tar.finalize()
  const rootfs = new PassThrough()
  tar.pipe(rootfs)
  return rootfs
}

function directory(tar: ReturnType<typeof pack>, name: string, mode: number): void {
  tar.entry({ name, type: 'directory', mode })
}

function file(tar: ReturnType<typeof pack>, name: string, content: string): void {
  tar.entry({ name, mode: 0o644 }, content)
}
