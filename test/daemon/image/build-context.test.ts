import { buffer } from 'node:stream/consumers'
import { extract } from 'tar-stream'
import { describe, expect, it } from 'vitest'
import { packContext } from '../../../daemon/image/build-context.ts'

const files = [
  { path: 'Containerfile', executable: false, content: Buffer.from('FROM scratch\n') },
  { path: 'files/usr/bin/tool', executable: true, content: Buffer.alloc(300_000, 'x') },
]

describe('packContext', () => {
  it('should pack all files with modes that depend on nothing else', async () => {
    const unpack = extract()
    packContext(files).pipe(unpack)
    const seen: unknown[] = []
    for await (const entry of unpack) {
      const { name, mode, type, mtime, uid } = entry.header
      seen.push([name, type, mode, mtime?.getTime(), uid, (await buffer(entry)).length])
    }
    expect(seen).toEqual([
      ['ca/', 'directory', 0o755, 0, 0, 0],
      ['Containerfile', 'file', 0o644, 0, 0, 13],
      ['files/usr/bin/tool', 'file', 0o755, 0, 0, 300_000],
    ])
  })

  it('should give the same bytes for the same files', async () => {
    const [one, two] = await Promise.all([buffer(packContext(files)), buffer(packContext(files))])
    expect(one.equals(two)).toBe(true)
  })
})
