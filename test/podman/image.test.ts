import { execFile } from 'node:child_process'
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isLoopatError } from '@loopatd/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { NamedImage } from '../../daemon/image/image-builder.ts'
import { AUTHORITY_DIRECTORIES } from '../../daemon/image/image-input.ts'
import { type ImageEvent, ImageService, type ImageServiceOptions } from '../../daemon/image/image-service.ts'
import { systemClock } from '../../daemon/lib/clock.ts'
import type { Logger } from '../../daemon/log.ts'
import { skipsPodman, startPodman, type TestPodman } from '../harness/podman.ts'
import { buildSandboxImage, dropSandboxImage } from '../harness/sandbox-image.ts'
import { makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

const TEMPLATES = fileURLToPath(new URL('../../templates', import.meta.url))
const WORKSPACE = `image-test-${process.pid}`
/** A container of the image that the daemon makes, and one of the image that is made from that here. */
const CONTAINER = `loopat-${WORKSPACE}`
const DERIVED = `${CONTAINER}-derived`

const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
}

let podman: TestPodman
let workspace: TestWorkspace
let base: string
let events: ImageEvent[] = []

function makeService(options: Partial<ImageServiceOptions> = {}): ImageService {
  const { PATH = '', http_proxy = '', https_proxy = '', no_proxy = '' } = process.env
  return new ImageService({
    engine: podman.engine,
    workspace: WORKSPACE,
    templatesDir: join(podman.directory, 'templates'),
    settings: { base },
    tools: { command: 'mmdebstrap', env: { PATH, http_proxy, https_proxy, no_proxy }, tmpDir: '/var/tmp' },
    clock: systemClock,
    log: silent,
    onEvent: (event) => events.push(event),
    authorityDirectories: [...AUTHORITY_DIRECTORIES, join(podman.directory, 'ca')],
    ...options,
  })
}

/** Names of all images of exactly this workspace, sorted. */
async function namesOf(workspace: string): Promise<string[]> {
  const repositories = [`localhost/loopat-sandbox-${workspace}:`, `localhost/loopat-base-${workspace}:`]
  const images = await podman.engine.image.list('localhost/loopat-')
  const names = new Set(images.flatMap((image) => image.tags))
  return [...names].filter((name) => repositories.some((repository) => name.startsWith(repository))).sort()
}

const leftovers = async () => (await readdir('/var/tmp')).filter((name) => name.startsWith('loopat-base-'))

async function startContainer(name: string, tag: string): Promise<void> {
  await podman.engine.container.create({
    name,
    image: tag,
    hostname: 'sandbox',
    labels: {},
    command: ['/bin/sleep', 'infinity'],
    workdir: '/home/loopat',
    env: {},
    mounts: [],
    keepId: { uid: 2000, gid: 2000 },
    init: true,
    network: { kind: 'none' },
    dns: [],
    limits: {},
    stopTimeoutSeconds: 1,
  })
  await podman.engine.container.start(name)
}

/** Runs a command in a container of this suite as its default user; fails unless it succeeds. */
async function inside(script: string, container = CONTAINER): Promise<string> {
  const spec = { command: ['/bin/sh', '-c', script], env: {}, stdin: false }
  const exec = await podman.engine.container.exec(container, spec)
  try {
    const [out, err, { exitCode }] = await Promise.all([text(exec.stdout), text(exec.stderr), exec.exit])
    if (exitCode !== 0) throw new Error(`${script}: ${exitCode}: ${err}`)
    return out.trim()
  } finally {
    exec.close()
  }
}

describe.skipIf(skipsPodman())('the sandbox image', () => {
  let image: NamedImage
  const early: string[] = []
  const late: string[] = []

  beforeAll(async () => {
    podman = await startPodman()
    workspace = await makeWorkspace({ image: false })
    // Names no image: the sandbox image is the one to build.
    await writeFile(join(workspace.home, 'config.toml'), '')
    // The one that the daemon makes from packages takes minutes: this one has it as its base, and all the rest anew.
    base = await buildSandboxImage(workspace)
    await cp(TEMPLATES, join(podman.directory, 'templates'), { recursive: true })
    await mkdir(join(podman.directory, 'ca'))
    const authority = join(podman.directory, 'ca/company.crt')
    const subject = ['-subj', '/CN=Loopat Test Authority', '-days', '2', '-nodes', '-keyout', '/dev/null']
    await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-out', authority, ...subject])
    // Two callers, of which the second comes in the middle.
    const service = makeService()
    let join2: Promise<NamedImage> | undefined
    const first = service.ensure(({ message, step }) => {
      early.push(message)
      if (step === 2) join2 ??= service.ensure((progress) => void late.push(progress.message))
    })
    image = await first
    expect((await join2)?.id).toBe(image.id)
    await startContainer(CONTAINER, base)
    await startContainer(DERIVED, image.tag)
  }, 900_000)

  afterAll(async () => {
    for (const name of [CONTAINER, DERIVED]) await podman.engine.container.remove(name)
    for (const name of await namesOf(WORKSPACE)) await podman.engine.image.untag(name)
    await dropSandboxImage(workspace)
    await workspace[Symbol.asyncDispose]()
    await podman[Symbol.asyncDispose]()
  })

  it('should be built once for two who ask, with all progress for both', () => {
    expect(events.filter(({ state }) => state === 'done')).toHaveLength(1)
    expect(late).toEqual(early)
    expect(early[0]).toBe('Building sandbox image')
    expect(early.some((line) => /^Building sandbox image: system packages \(step \d+\/\d+\)$/.test(line))).toBe(true)
    expect(image.tag).toMatch(/^localhost\/loopat-sandbox-image-test-\d+:[0-9a-f]{16}$/)
    expect(image.labels['loopat.content-hash']).toBe(image.tag.slice(-16))
  })

  it('should leave nothing behind but the image', async () => {
    expect(await leftovers()).toEqual([])
    expect(await namesOf(WORKSPACE)).toEqual([image.tag])
  })

  it('should be there at once the second time', async () => {
    events = []
    const lines: string[] = []
    const again = await makeService().ensure(({ message }) => lines.push(message))
    expect(again.id).toBe(image.id)
    expect(lines).toEqual([])
    expect(events).toEqual([])
    expect(await makeService().status()).toMatchObject({ tag: image.tag, present: true, building: false, id: image.id })
  })

  it('should be another one when a template changes', async () => {
    const containerfile = join(podman.directory, 'templates/sandbox/Containerfile')
    const recipe = await readFile(containerfile, 'utf8')
    try {
      await writeFile(containerfile, `${recipe}# changed\n`)
      const status = await makeService().status()
      expect(status.present).toBe(false)
      expect(status.tag).not.toBe(image.tag)
    } finally {
      await writeFile(containerfile, recipe)
    }
  })

  it('should be taken over by another workspace without a build', async () => {
    const workspace = `${WORKSPACE}-b`
    try {
      expect((await makeService({ workspace }).ensure()).id).toBe(image.id)
    } finally {
      for (const name of await namesOf(workspace)) await podman.engine.image.untag(name)
    }
    expect((await makeService().status()).id).toBe(image.id)
  })

  it('should be the home of loopat 2000:2000, who may become root', async () => {
    expect(await inside('id')).toBe('uid=2000(loopat) gid=2000(loopat) groups=2000(loopat)')
    expect(await inside('getent passwd loopat')).toBe('loopat:x:2000:2000::/home/loopat:/bin/bash')
    expect(await inside('echo "$HOME"; touch ~/file; stat -c %U ~/file')).toBe('/home/loopat\nloopat')
    expect(await inside('sudo -n id -u')).toBe('0')
  })

  it('should have the tools that a loop needs', async () => {
    const tools =
      'bash cc curl fish g++ git ip jq less make podman ps python3 rg scp ssh sudo update-ca-certificates vim wget xz'
    expect(await inside(`for tool in ${tools}; do command -v $tool >/dev/null || echo $tool; done`)).toBe('')
    expect(
      await inside('for tool in crun newuidmap slirp4netns; do command -v $tool >/dev/null || echo $tool; done'),
    ).toBe('')
    expect(await inside('cat /etc/subuid /etc/subgid')).toBe('loopat:10000:50000\nloopat:10000:50000')
    expect(await inside('git --version; python3 -c "print(6 * 7)"')).toMatch(/^git version [^\n]+\n42$/)
  })

  it('should find commands of the host after all others, in every shell', async () => {
    const usual = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/loopat/control/bin'
    expect(await inside('echo $PATH')).toBe(usual)
    for (const shell of ['bash -c', 'bash -lc', 'bash -ic', 'sh -lc', 'fish -c', 'fish -lc']) {
      expect(await inside(`${shell} 'env | grep ^PATH=' 2>&1`), shell).toMatch(/^PATH=\/.+:\/loopat\/control\/bin$/m)
    }
    expect(await inside('readlink /usr/local/bin/loopat-host')).toBe('/loopat/control/loopat-host')
    expect(await inside('test -x /usr/bin/perl && echo yes')).toBe('yes')
  })

  it('should speak UTF-8', async () => {
    expect(await inside('locale charmap 2>&1; locale 2>&1 | grep ^LC_ALL')).toBe('UTF-8\nLC_ALL=')
    expect(await inside("printf 'ä' | wc -m")).toBe('1')
  })

  it("should trust the host's own authorities", async () => {
    const bundle = '/etc/ssl/certs/ca-certificates.crt'
    expect(await inside('echo "$SSL_CERT_FILE $NODE_EXTRA_CA_CERTS"')).toBe(`${bundle} ${bundle}`)
    const authority = await readFile(join(podman.directory, 'ca/company.crt'), 'utf8')
    expect(await inside(`cat ${bundle}`, DERIVED)).toContain(authority.trim())
  })

  it('should carry no package lists', async () => {
    expect(await inside('ls /var/lib/apt/lists')).toBe('')
  })

  it('should leave nothing when it is cancelled while its base is made', async () => {
    const workspace = `${WORKSPACE}-c`
    const etc = join(podman.directory, 'etc')
    await mkdir(etc)
    await writeFile(join(etc, 'os-release'), 'ID=debian\nVERSION_CODENAME=bookworm\n')
    const controller = new AbortController()
    const service = makeService({ workspace, etc, settings: {} })
    const lines: string[] = []
    const stop = ({ message }: { message: string }) => {
      lines.push(message)
      if (message.includes('extracting')) controller.abort(new Error('enough'))
    }
    const error = await service.ensure(stop, controller.signal).catch((caught: unknown) => caught)
    expect(error).toEqual(new Error('enough'))
    expect(lines.some((line) => line.startsWith('Building base image from the packages of '))).toBe(true)
    await service.settled()
    expect(await leftovers()).toEqual([])
    expect(await namesOf(workspace)).toEqual([])
  })

  it('should say what the tool says when there is no base to be had', async () => {
    const workspace = `${WORKSPACE}-d`
    const etc = join(podman.directory, 'etc-unknown')
    await mkdir(etc)
    await writeFile(join(etc, 'os-release'), 'ID=debian\nVERSION_CODENAME=nosuchrelease\n')
    const error = await makeService({ workspace, etc, settings: {} })
      .ensure()
      .catch((caught: unknown) => caught)
    expect(isLoopatError(error, 'image_unavailable')).toBe(true)
    expect(String(error)).toContain('nosuchrelease')
    expect(await leftovers()).toEqual([])
    expect(await namesOf(workspace)).toEqual([])
  })

  it('should leave nothing when a step fails', async () => {
    const templatesDir = join(podman.directory, 'broken')
    await cp(join(podman.directory, 'templates'), templatesDir, { recursive: true })
    await writeFile(join(templatesDir, 'sandbox/Containerfile'), 'ARG BASE\nFROM $BASE\nRUN echo oh dear; exit 3\n')
    const before = await namesOf(WORKSPACE)
    const error = await makeService({ templatesDir })
      .ensure()
      .catch((caught: unknown) => caught)
    expect(isLoopatError(error, 'image_build_failed')).toBe(true)
    expect(String(error)).toContain('oh dear')
    expect(await namesOf(WORKSPACE)).toEqual(before)
  })
})
