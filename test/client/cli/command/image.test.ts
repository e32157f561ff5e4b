import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TestHost } from '../host.ts'
import { type StubDaemon, startStub } from '../stub-daemon.ts'

const image = {
  tag: 'localhost/loopat-sandbox-x:abc',
  source: 'built',
  ...{
    present: true,
    building: false,
    id: '0123456789abcdef',
    createdAt: '2026-01-01T03:04:05Z',
    sizeBytes: 5_000_000,
  },
}

describe('loopctl image', () => {
  let stub: StubDaemon

  beforeEach(async () => {
    stub = await startStub()
    stub.on('image/status', () => image)
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  it('should build with progress on stderr and the tag on stdout', async () => {
    stub.on('image/build', (_params, call) => {
      call.progress({ message: 'base', step: 1 })
      return image
    })
    expect(await new TestHost({ socket: stub.socket }).run('image', 'build', '--rebuild')).toEqual({
      code: 0,
      stdout: `${image.tag}\n`,
      stderr: '[1] base\n',
    })
    expect(stub.calls.at(-1)?.params).toMatchObject({ rebuild: true })
  })

  it('should show the image', async () => {
    const { stdout } = await new TestHost({ socket: stub.socket }).run('image', 'status')
    expect(stdout).toContain('state    present\nid       01234567\n')
    expect(stdout).toContain('(1d ago)\nsize     4.8 MiB\n')
    expect(JSON.parse((await new TestHost({ socket: stub.socket }).run('image', 'status', '--json')).stdout)).toEqual(
      image,
    )
  })

  it('should say that a missing one is made when it is needed', async () => {
    stub.on('image/status', () => ({ ...image, present: false, id: null, createdAt: null, sizeBytes: null }))
    const { stdout } = await new TestHost({ socket: stub.socket }).run('image', 'status')
    expect(stdout).toContain('missing')
    expect(stdout).not.toContain('size')
  })
})
