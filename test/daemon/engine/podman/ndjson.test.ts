import { PassThrough, Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { parseLine, readLines } from '../../../../daemon/engine/podman/ndjson.ts'

describe('readLines', () => {
  it('should keep characters whole that are split between chunks', async () => {
    const wire = Buffer.from('{"a":"ä€😀"}\n\n{"b":2}\r\n{"c":3}')
    for (const size of [1, 2, 5, wire.length]) {
      const chunks = Array.from({ length: Math.ceil(wire.length / size) }, (_, n) =>
        wire.subarray(n * size, (n + 1) * size),
      )
      expect(await collect(Readable.from(chunks))).toEqual(['{"a":"ä€😀"}', '{"b":2}', '{"c":3}'])
    }
  })

  it('should fail when the stream closes without its end', async () => {
    const stream = new PassThrough()
    stream.write('{"a":1}\n{"b"')
    setTimeout(() => stream.destroy(), 20)
    await expect(collect(stream)).rejects.toMatchObject({ kind: 'connection_lost' })
  })

  it('should fail when a line does not end', async () => {
    const endless = Readable.from(
      (function* () {
        for (;;) yield Buffer.alloc(1024 * 1024, 'x')
      })(),
    )
    await expect(collect(endless)).rejects.toMatchObject({ kind: 'failed', message: /without end/ })
  })
})

describe('parseLine', () => {
  it('should take objects alone', () => {
    expect(parseLine('{"stream":"x"}')).toEqual({ stream: 'x' })
    for (const line of ['{', '[1]', 'null', '7', 'Not Found']) {
      expect(() => parseLine(line)).toThrow(expect.objectContaining({ kind: 'failed' }))
    }
  })
})

async function collect(stream: Readable): Promise<string[]> {
  const lines: string[] = []
  for await (const line of readLines(stream)) lines.push(line)
  return lines
}
