import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isLoopatError } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { EngineError } from '../../../daemon/engine/engine.ts'
import { type ImageEvent, ImageService } from '../../../daemon/image/image-service.ts'
import { systemClock } from '../../../daemon/lib/clock.ts'
import type { Logger } from '../../../daemon/log.ts'
import { FakeEngine } from '../../fake/engine.ts'
import { type FakeTool, makeFakeTool } from './tool.ts'

const RECIPE = 'ARG BASE\nFROM $BASE\nRUN apt-get update\nUSER loopat\n'
const BASE = 'registry.example/debian:bookworm'

const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
}

let tool: FakeTool
let engine: FakeEngine
let root: string
let events: ImageEvent[]

beforeEach(async () => {
  tool = await makeFakeTool()
  engine = new FakeEngine()
  root = await mkdtemp(join(tmpdir(), 'loopat-image-'))
  events = []
  await mkdir(join(root, 'templates/sandbox'), { recursive: true })
  await mkdir(join(root, 'ca'))
  await mkdir(join(root, 'etc'))
  await writeFile(join(root, 'etc/os-release'), 'ID=debian\nVERSION_CODENAME=bookworm\n')
  await writeRecipe(RECIPE)
})
afterEach(async () => {
  await rm(root, { recursive: true })
  await tool[Symbol.asyncDispose]()
  await engine[Symbol.asyncDispose]()
})

const writeRecipe = (text: string) => writeFile(join(root, 'templates/sandbox/Containerfile'), text)

function makeService(settings: { base?: string; name?: string } = {}, workspace = 'ws'): ImageService {
  return new ImageService({
    engine,
    workspace,
    templatesDir: join(root, 'templates'),
    settings,
    tools: tool.tools,
    clock: systemClock,
    log: silent,
    onEvent: (event) => events.push(event),
    authorityDirectories: [join(root, 'ca')],
    etc: join(root, 'etc'),
  })
}

/** A sink and what it was told. */
function listen() {
  const lines: string[] = []
  return { lines, onProgress: ({ message }: { message: string }) => void lines.push(message) }
}

const calls = (operation: string) => engine.faults.calls.filter((call) => call.startsWith(`image.${operation}`))
const tagsIn = async (prefix: string) => (await engine.image.list(prefix)).flatMap((image) => image.tags)

describe('ImageService.ensure', () => {
  it('should bootstrap a base and build the image on it', async () => {
    const { lines, onProgress } = listen()
    const image = await makeService().ensure(onProgress)
    expect(image.tag).toMatch(/^localhost\/loopat-sandbox-ws:[0-9a-f]{16}$/)
    expect(image.labels).toEqual({ 'loopat.content-hash': image.tag.slice(-16) })
    expect(await tagsIn('localhost/loopat-base-ws:')).toHaveLength(1)
    expect(lines).toEqual([
      'Building sandbox image',
      'Building base image from the packages of Debian bookworm',
      'Building base image from the packages of Debian bookworm: running apt-get update...',
      'Building base image from the packages of Debian bookworm: creating tarball...',
      'Building sandbox image: environment (step 1/4)',
      'Building sandbox image: base image (step 2/4)',
      'Building sandbox image: system packages (step 3/4)',
      'Building sandbox image: settings (step 4/4)',
    ])
  })

  it('should build nothing when the image is there', async () => {
    const service = makeService()
    const first = await service.ensure()
    engine.faults.clearCalls()
    const { lines, onProgress } = listen()
    expect((await service.ensure(onProgress)).id).toBe(first.id)
    expect((await makeService().ensure()).id).toBe(first.id)
    expect(lines).toEqual([])
    expect(calls('build')).toEqual([])
  })

  it('should not trust a name whose image says that it is another one', async () => {
    const { tag } = await makeService().status()
    const foreign = engine.image.add(tag, { 'loopat.content-hash': 'fedcba9876543210' })
    expect((await makeService().ensure()).id).not.toBe(foreign.id)
  })

  it('should pull a configured base', async () => {
    engine.image.publish(BASE)
    const { lines, onProgress } = listen()
    await makeService({ base: BASE }).ensure(onProgress)
    expect(lines[1]).toBe(`Pulling ${BASE}`)
    expect(await tool.calls()).toEqual([])
    expect(await tagsIn('localhost/loopat-base-')).toEqual([])
  })

  it('should not pull a base that is there', async () => {
    engine.image.add(BASE)
    await makeService({ base: BASE }).ensure()
    expect(calls('pull')).toEqual([])
  })

  it('should bootstrap when the configured base cannot be pulled, and say so', async () => {
    const { lines, onProgress } = listen()
    const service = makeService({ base: BASE })
    const { tag: wanted } = await service.status()
    const image = await service.ensure(onProgress)
    expect(lines).toContainEqual(
      `Base image ${BASE} cannot be pulled (${BASE} is in no registry); making one from packages instead`,
    )
    expect(image.tag).not.toBe(wanted)
    expect(await service.status()).toMatchObject({ tag: image.tag, present: true, base: 'packages of Debian bookworm' })
    engine.faults.clearCalls()
    expect((await service.ensure()).id).toBe(image.id)
    expect(calls('pull')).toEqual([])
  })

  it('should not take a stand-in for another base, nor an image without a base for a stand-in', async () => {
    const plain = await makeService().ensure()
    const standIn = await makeService({ base: BASE }).ensure()
    const other = await makeService({ base: 'registry.example/debian:trixie' }).ensure()
    expect(new Set([plain.tag, standIn.tag, other.tag]).size).toBe(3)
  })

  it('should fail for other troubles of a pull instead of making something else', async () => {
    engine.faults.fail('image.pull', new EngineError('storage_full', 'no space left on device'))
    const error = await makeService({ base: BASE })
      .ensure()
      .catch((caught: unknown) => caught)
    expect(isLoopatError(error, 'storage_failed')).toBe(true)
    expect(await tool.calls()).toEqual([])
  })

  it('should take over an equal image of another workspace', async () => {
    const theirs = await makeService({}, 'other').ensure()
    engine.faults.clearCalls()
    const ours = await makeService().ensure()
    expect(ours.id).toBe(theirs.id)
    expect(ours.tag).toBe(theirs.tag.replace('-other:', '-ws:'))
    expect(engine.image.find(ours.tag)?.tags).toEqual(expect.arrayContaining([ours.tag, theirs.tag]))
    expect(calls('build')).toEqual([])
  })

  it('should not take over an image of another workspace that only has the name', async () => {
    const { tag } = await makeService().status()
    engine.image.add(tag.replace('-ws:', '-other:'))
    await makeService().ensure()
    expect(calls('build')).toHaveLength(1)
  })

  it('should use the base of another workspace for an image of its own', async () => {
    await makeService({}, 'other').ensure()
    await writeRecipe(`${RECIPE}RUN true\n`)
    await makeService().ensure()
    expect(await tool.calls()).toHaveLength(1)
    expect(calls('build')).toHaveLength(2)
  })

  it('should make another image when a template or an authority changes', async () => {
    const service = makeService()
    const tags = [(await service.status()).tag]
    await writeRecipe(`${RECIPE}RUN true\n`)
    tags.push((await service.status()).tag)
    const body = '-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n'
    await writeFile(join(root, 'ca/company.crt'), body)
    tags.push((await service.status()).tag)
    expect(new Set(tags).size).toBe(3)
  })

  it('should take the names of older images of this workspace away, and of nobody else', async () => {
    const old = await makeService().ensure()
    const theirs = await makeService({}, 'ws-2').ensure()
    const foreign = engine.image.add('localhost/loopat-sandbox-ws/extra:1')
    await writeRecipe(`${RECIPE}RUN true\n`)
    const fresh = await makeService().ensure()
    expect(await tagsIn('localhost/loopat-sandbox-')).toEqual(
      expect.arrayContaining([theirs.tag, fresh.tag, ...foreign.tags]),
    )
    expect(engine.image.find(old.tag)).toBeUndefined()
  })

  it('should take the base made from packages away when the configured one is there', async () => {
    await makeService({ base: BASE }).ensure()
    expect(await tagsIn('localhost/loopat-base-ws:')).toHaveLength(1)
    engine.image.publish(BASE)
    const image = await makeService({ base: BASE }).rebuild()
    expect(await tagsIn('localhost/loopat-')).toEqual([image.tag])
  })

  it('should be content with the image when the older ones cannot be removed', async () => {
    engine.faults.fail('image.untag', new EngineError('connection_lost', 'broken pipe'))
    await makeService().ensure()
    await writeRecipe(`${RECIPE}RUN true\n`)
    expect((await makeService().ensure()).tag).toBe((await makeService().status()).tag)
  })

  it('should keep an older image that the engine says is in use', async () => {
    const old = await makeService().ensure()
    await writeRecipe(`${RECIPE}RUN true\n`)
    engine.faults.fail('image.untag', new EngineError('in_use', 'a container uses it'))
    await makeService().ensure()
    expect(engine.image.find(old.tag)?.id).toBe(old.id)
  })
})

describe('ImageService.ensure for many', () => {
  it('should build once and tell everybody everything from the beginning', async () => {
    const service = makeService()
    const hold = engine.faults.hold('image.build')
    const early = listen()
    const late = listen()
    const first = service.ensure(early.onProgress)
    await hold.reached
    expect((await service.status()).building).toBe(true)
    const second = service.ensure(late.onProgress)
    await vi.waitFor(() => expect(late.lines).toEqual(early.lines))
    hold.release()
    expect((await first).id).toBe((await second).id)
    expect(late.lines).toEqual(early.lines)
    expect(early.lines[0]).toBe('Building sandbox image')
    expect(calls('build')).toHaveLength(1)
    expect((await service.status()).building).toBe(false)
  })

  it('should give everybody the failure, and leave nothing', async () => {
    await writeRecipe('ARG BASE\nFROM $BASE\nRUN false\n')
    const service = makeService()
    const results = await Promise.allSettled([service.ensure(), service.ensure(), service.ensure()])
    for (const result of results) {
      expect(result.status).toBe('rejected')
      if (result.status === 'fulfilled') continue
      expect(isLoopatError(result.reason, 'image_build_failed')).toBe(true)
      expect(String(result.reason)).toContain('RUN false: exit status 1')
    }
    expect(calls('build')).toHaveLength(1)
    expect(await tagsIn('')).toEqual([])
    expect(await tool.leftovers()).toEqual([])
    await writeRecipe(RECIPE)
    expect((await service.ensure()).tag).toMatch(/^localhost/)
  })

  it('should go on while one still waits, and cancel and leave nothing when the last one has gone', async () => {
    await writeRecipe('ARG BASE\nFROM $BASE\nRUN sleep\n')
    const service = makeService()
    const controllers = [new AbortController(), new AbortController()]
    const results = controllers.map(({ signal }) => service.ensure(undefined, signal).catch(String))
    await vi.waitFor(() => expect(events.map(({ progress }) => progress.step)).toContain(3), { timeout: 5_000 })
    controllers[0]?.abort(new Error('first'))
    expect(await results[0]).toBe('Error: first')
    expect((await service.status()).building).toBe(true)
    controllers[1]?.abort(new Error('second'))
    expect(await results[1]).toBe('Error: second')
    await service.settled()
    expect(await tagsIn('')).toEqual([])
    expect(events.at(-1)).toMatchObject({ state: 'failed', progress: { message: 'Cancelled' } })
  })

  it('should tell listeners of every build how it goes and how it ends', async () => {
    const { tag } = await makeService().ensure()
    expect(events.every((event) => event.tag === tag)).toBe(true)
    expect(events.slice(0, -1).every((event) => event.state === 'running')).toBe(true)
    expect(events.at(-1)).toEqual({ tag, state: 'done', progress: { message: `Sandbox image ${tag} is ready` } })
  })
})

describe('ImageService.rebuild', () => {
  it('should make base and image again under the same name', async () => {
    const service = makeService()
    const old = await service.ensure()
    const fresh = await service.rebuild()
    expect(fresh.tag).toBe(old.tag)
    expect(fresh.id).not.toBe(old.id)
    expect(await tool.calls()).toHaveLength(2)
    expect(service.known()).toBe(fresh.id)
    expect(engine.image.find(old.id)).toBeUndefined()
  })

  it('should not keep others from using the image that is there', async () => {
    const service = makeService()
    const old = await service.ensure()
    const hold = engine.faults.hold('image.build')
    const rebuilding = service.rebuild()
    await hold.reached
    expect((await service.ensure()).id).toBe(old.id)
    hold.release()
    await rebuilding
  })

  it('should keep the image when its base cannot be had again', async () => {
    engine.image.publish(BASE)
    const service = makeService({ base: BASE })
    const old = await service.ensure()
    await engine.image.untag(BASE)
    engine.faults.fail('image.pull', new EngineError('image_unavailable', 'no route to host'))
    const error = await service.rebuild().catch((caught: unknown) => caught)
    expect(isLoopatError(error, 'image_unavailable')).toBe(true)
    expect(await service.status()).toMatchObject({ id: old.id, present: true })
  })

  it('should do with the base that is there when the registry does not answer', async () => {
    engine.image.add(BASE)
    const { lines, onProgress } = listen()
    await makeService({ base: BASE }).rebuild(onProgress)
    expect(lines.some((line) => line.includes('using the one that is there'))).toBe(true)
  })
})

describe('ImageService with a named image', () => {
  const NAME = 'registry.example/sandbox:1'

  it('should use it as it is', async () => {
    const { id } = engine.image.add(NAME)
    const service = makeService({ name: NAME })
    expect(service.known()).toBeUndefined()
    expect(await service.ensure()).toMatchObject({ tag: NAME, id })
    expect(service.known()).toBe(id)
    expect(service.known(NAME)).toBe(id)
    expect(await service.status()).toMatchObject({ tag: NAME, source: 'named', base: null, present: true, id })
    expect(calls('build')).toEqual([])
    expect(calls('pull')).toEqual([])
  })

  it('should fetch it when it is missing, once for all', async () => {
    engine.image.publish(NAME)
    const service = makeService({ name: NAME })
    const hold = engine.faults.hold('image.pull')
    const results = [service.ensure(), service.ensureNamed(NAME), service.ensure()]
    await hold.reached
    hold.release()
    expect(new Set((await Promise.all(results)).map((image) => image.id)).size).toBe(1)
    expect(calls('pull')).toHaveLength(1)
  })

  it('should say that it is not to be had', async () => {
    const error = await makeService({ name: NAME })
      .ensure()
      .catch((caught: unknown) => caught)
    expect(isLoopatError(error, 'image_unavailable') && error.message).toContain(NAME)
    expect(isLoopatError(error) && error.next).toContain('image.name')
  })

  it('should keep what a loop names apart from the image of the workspace', async () => {
    const { id } = engine.image.add(NAME)
    const service = makeService()
    await service.ensureNamed(NAME)
    expect(service.known(NAME)).toBe(id)
    expect(service.known()).toBeUndefined()
  })
})

describe('ImageService.status', () => {
  it('should describe what is wanted while nothing is there, and make nothing', async () => {
    expect(await makeService({ base: BASE }).status()).toMatchObject({
      source: 'built',
      base: BASE,
      present: false,
      building: false,
      id: null,
      createdAt: null,
      sizeBytes: null,
    })
    expect(calls('build')).toEqual([])
  })

  it('should be what a build answers', async () => {
    const service = makeService()
    const signal = new AbortController().signal
    const { lines, onProgress } = listen()
    const first = await service.build({ rebuild: false }, onProgress, signal)
    expect(first).toEqual(await service.status())
    expect(first).toMatchObject({ present: true, base: 'packages of Debian bookworm' })
    expect(lines).not.toEqual([])
    const second = await service.build({ rebuild: true }, onProgress, signal)
    expect(second.id).not.toBe(first.id)
  })

  it('should say when the engine does not answer', async () => {
    engine.faults.setDown('connection refused')
    const error = await makeService()
      .status()
      .catch((caught: unknown) => caught)
    expect(isLoopatError(error, 'engine_unavailable')).toBe(true)
  })
})

describe('after a crash', () => {
  it('should remove what bootstrapping left, and nothing of another workspace', async () => {
    const { tmpDir } = tool.tools
    for (const name of ['loopat-base-ws-0aB1cD', 'loopat-base-ws-two-0aB1cD', 'loopat-base-ws', 'other']) {
      await mkdir(join(tmpDir, name, 'inner'), { recursive: true })
    }
    const service = makeService()
    await service.sweep()
    await service.settled()
    expect((await tool.leftovers()).sort()).toEqual(['loopat-base-ws', 'loopat-base-ws-two-0aB1cD', 'other'])
  })
})
