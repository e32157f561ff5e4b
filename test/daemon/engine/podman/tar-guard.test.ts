import { buffer } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { TarGuard } from '../../../../daemon/engine/podman/tar-guard.ts'
import { contextOf } from '../../../contract/image.ts'

describe('TarGuard', () => {
  it('should pass a whole tar, in whatever pieces', async () => {
    const tar = await buffer(contextOf('FROM scratch'))
    for (const size of [1, 511, 4096]) expect(await through(tar, size)).toEqual(tar)
  })

  it('should refuse a tar that is cut off', async () => {
    const tar = await buffer(contextOf('FROM scratch'))
    for (const length of [0, 512, 1024, tar.length - 512, tar.length - 1]) {
      await expect(through(tar.subarray(0, length), 4096)).rejects.toThrow('cut off')
    }
  })
})

async function through(tar: Buffer, size: number): Promise<Buffer> {
  const guard = new TarGuard()
  const passed = buffer(guard)
  for (let start = 0; start < tar.length; start += size) guard.write(tar.subarray(start, start + size))
  guard.end()
  return await passed
}
