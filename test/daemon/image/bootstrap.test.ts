import { existsSync, readFileSync } from 'node:fs'
import { isLoopatError } from '@loopatd/protocol'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { bootstrapBase } from '../../../daemon/image/bootstrap.ts'
import { planBootstrap } from '../../../daemon/image/bootstrap-plan.ts'
import { FakeEngine } from '../../fake/engine.ts'
import { type FakeTool, makeFakeTool } from './tool.ts'

const TAG = 'localhost/loopat-base-ws:0123456789abcdef'

let tool: FakeTool
let engine: FakeEngine
let lines: string[]

beforeEach(async () => {
  tool = await makeFakeTool()
  engine = new FakeEngine()
  lines = []
})
afterEach(async () => {
  await tool[Symbol.asyncDispose]()
  await engine[Symbol.asyncDispose]()
})

function bootstrap(signal = new AbortController().signal, tools = tool.tools) {
  const aptSources = [{ path: '/etc/apt/sources.list', text: 'deb http://mirror.example/debian bookworm main' }]
  const plan = planBootstrap({ osRelease: 'ID=debian\nVERSION_CODENAME=bookworm\n', aptSources, architecture: 'x64' })
  const onProgress = ({ message }: { message: string }) => lines.push(message)
  return bootstrapBase({ plan, workspace: 'ws', tag: TAG, engine: engine.image, tools, onProgress }, signal)
}

/** Whether a process still runs; one that only waits to be reaped by somebody else does not. */
function isAlive(pid: number): boolean {
  if (!existsSync(`/proc/${pid}`)) return false
  return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
}

describe('bootstrapBase', () => {
  it('should import what the tool makes and tell how it goes', async () => {
    const image = await bootstrap()
    expect(image.tags).toEqual([TAG])
    expect(lines).toEqual([
      'Building base image from the packages of Debian bookworm',
      'Building base image from the packages of Debian bookworm: running apt-get update...',
      'Building base image from the packages of Debian bookworm: creating tarball...',
    ])
    expect(await tool.leftovers()).toEqual([])
  })

  it("should make the host's release from the host's sources", async () => {
    await bootstrap()
    const [call] = await tool.calls()
    expect(call).toContain('--variant=minbase --mode=unshare --format=tar --components=main')
    expect(call).toMatch(/ bookworm - deb http:\/\/mirror\.example\/debian bookworm main$/)
  })

  it('should say which package is missing and what else can be done', async () => {
    const error = await bootstrap(undefined, { ...tool.tools, command: `${tool.directory}/missing` }).catch(String)
    expect(error).toContain('is not installed on this host')
    const thrown = await bootstrap(undefined, { ...tool.tools, command: 'missing' }).catch((caught: unknown) => caught)
    expect(isLoopatError(thrown, 'image_unavailable') && thrown.next).toMatch(/package mmdebstrap.*image\.base/)
  })

  it('should tell when the host refuses user namespaces', async () => {
    await tool.behave('refuse')
    const error = await bootstrap().catch((caught: unknown) => caught)
    expect(isLoopatError(error, 'image_unavailable')).toBe(true)
    expect(String(error)).toContain('Operation not permitted')
    expect(isLoopatError(error) && error.next).toMatch(/subuid.*image\.base/)
    expect(await tool.calls()).toEqual([])
  })

  it('should never import half a system', async () => {
    await tool.behave('fail')
    const error = await bootstrap().catch((caught: unknown) => caught)
    expect(isLoopatError(error, 'image_unavailable')).toBe(true)
    expect(String(error)).toContain('E: no such suite')
    expect(engine.image.find(TAG)).toBeUndefined()
    expect(await tool.leftovers()).toEqual([])
  })

  it('should end the tool with all its children when it is aborted', async () => {
    await tool.behave('hang')
    const controller = new AbortController()
    const result = bootstrap(controller.signal).catch((caught: unknown) => caught)
    const pids = await vi.waitFor(
      async () => {
        const found = await tool.pids()
        expect(found).toHaveLength(2)
        return found
      },
      { timeout: 5_000 },
    )
    controller.abort(new Error('enough'))
    expect(await result).toEqual(new Error('enough'))
    await vi.waitFor(() => expect(pids.filter(isAlive)).toEqual([]), { timeout: 5_000 })
    expect(await tool.leftovers()).toEqual([])
    expect(engine.image.find(TAG)).toBeUndefined()
  })

  it('should end the tool when the import fails', async () => {
    const broken = new Error('disk full')
    engine.faults.fail('image.import', broken)
    expect(await bootstrap().catch((caught: unknown) => caught)).toBe(broken)
    expect(await tool.leftovers()).toEqual([])
  })

  it('should start nothing when it is already aborted', async () => {
    expect(await bootstrap(AbortSignal.abort(new Error('enough'))).catch(String)).toBe('Error: enough')
    expect(await tool.calls()).toEqual([])
  })
})
