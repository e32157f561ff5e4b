import { once } from 'node:events'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { Demuxer, Output } from '../../../../daemon/engine/podman/demux.ts'

describe('Demuxer', () => {
  it('should split frames wherever chunks end', async () => {
    const wire = Buffer.concat([frame(1, 'out'), frame(2, 'err'), frame(1, ''), frame(1, 'more'), frame(2, '!')])
    for (const size of [1, 3, 7, 8, 9, wire.length]) {
      const { stdout, stderr, demuxer } = open()
      Readable.from(slices(wire, size)).pipe(demuxer)
      expect(await Promise.all([text(stdout), text(stderr)])).toEqual(['outmore', 'err!'])
    }
  })

  it('should take any number of tiny frames in one chunk', async () => {
    const { stdout, demuxer } = open()
    demuxer.end(Buffer.concat(Array.from({ length: 200_000 }, () => frame(1, 'x'))))
    expect((await text(stdout)).length).toBe(200_000)
  })

  it('should hold the connection up while an output is not read', async () => {
    const { stdout, demuxer } = open()
    const chunk = frame(1, 'x'.repeat(8000))
    let written = 0
    while (demuxer.write(chunk)) written += 1
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(demuxer.writableNeedDrain).toBe(true)
    expect(stdout.readableLength).toBeLessThan(100_000)
    stdout.resume()
    await once(demuxer, 'drain')
    expect(written).toBeLessThan(20)
  })

  it('should go on with one output when the other is given up', async () => {
    const { stdout, stderr, demuxer } = open()
    stdout.destroy()
    demuxer.end(Buffer.concat([frame(1, 'x'.repeat(500_000)), frame(2, 'problem')]))
    expect(await text(stderr)).toBe('problem')
  })

  it('should lose what is too much for a reader when the command must not be held up', async () => {
    const { stdout, demuxer } = open()
    const chunk = frame(1, 'x'.repeat(8000))
    while (demuxer.write(chunk));
    stdout.dropWhenFull()
    for (let count = 0; count < 100; count += 1) demuxer.write(chunk)
    demuxer.end()
    await once(demuxer, 'finish')
    expect(stdout.readableLength).toBeLessThan(200_000)
  })

  it('should refuse frames that cannot be', async () => {
    for (const [wire, words] of [
      [Buffer.from([7, 0, 0, 0, 0, 0, 0, 1, 65]), /unknown stream/],
      [Buffer.from([1, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]), /frame of/],
    ] as const) {
      const { demuxer } = open()
      demuxer.write(wire)
      await expect(once(demuxer, 'finish')).rejects.toMatchObject({ message: expect.stringMatching(words) })
    }
  })

  it('should notice an end in the middle of a frame', async () => {
    for (const length of [4, 9]) {
      const { demuxer } = open()
      demuxer.end(frame(1, 'cut off').subarray(0, length))
      await expect(once(demuxer, 'finish')).rejects.toMatchObject({ kind: 'connection_lost' })
    }
  })
})

function open() {
  const stdout = new Output()
  const stderr = new Output()
  const demuxer = new Demuxer((stream, bytes, later) => (stream === 'stdout' ? stdout : stderr).offer(bytes, later))
  demuxer.on('finish', () => {
    stdout.finish()
    stderr.finish()
  })
  return { stdout, stderr, demuxer }
}

function frame(stream: number, payload: string): Buffer {
  const header = Buffer.alloc(8)
  header[0] = stream
  header.writeUInt32BE(Buffer.byteLength(payload), 4)
  return Buffer.concat([header, Buffer.from(payload)])
}

function* slices(data: Buffer, size: number): Generator<Buffer> {
  for (let start = 0; start < data.length; start += size) yield data.subarray(start, start + size)
}
