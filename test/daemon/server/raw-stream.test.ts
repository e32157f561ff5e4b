import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ExecControl } from '@loopatd/protocol'
import { CHANNEL, encodeFrame, type Frame, FrameDecoder, STREAM_WINDOW_BYTES } from '@loopatd/protocol/frame'
import { describe, expect, it, vi } from 'vitest'
import type { ExecIo } from '../../../daemon/exec/exec-io.ts'
import { deferred } from '../../../daemon/lib/deferred.ts'
import type { Peer } from '../../harness/peer.ts'
import { startServer } from '../../harness/peer-server.ts'
import { heldBytes } from '../lib/held-bytes.ts'

const end = { exitCode: 0, timedOut: false, durationMs: 5, droppedBytes: 0, linesOmitted: 0 }
const done = { ...end, stdout: null, stderr: null }

type Run = (io: ExecIo, signal: AbortSignal) => Promise<number>

/** A server whose commands are functions of the stream. */
function serverOf(run: Run, options: Parameters<typeof startServer>[1] = {}) {
  return startServer(
    {
      exec: {
        run: async (_params, io, _onProgress, signal) => {
          if (io === undefined) throw new Error('no stream')
          return { ...done, exitCode: await run(io, signal) }
        },
      },
    },
    options,
  )
}

const echo: Run = async (io) => {
  await pipeline(io.stdin, io.stdout)
  return 0
}

async function open(peer: Peer): Promise<{ stream: string; token: string }> {
  return (await peer.request('stream/open')).result as { stream: string; token: string }
}

/** A raw connection that reads nothing until it is asked to. */
async function attach(path: string, token: string): Promise<Socket> {
  const socket = connect(path)
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(`STREAM ${token}\n`)
  return socket
}

async function frames(socket: Socket): Promise<Frame[]> {
  const decoder = new FrameDecoder()
  const all: Frame[] = []
  for await (const chunk of socket) all.push(...decoder.push(chunk))
  expect(decoder.atBoundary).toBe(true)
  return all
}

const textOf = (all: Frame[], channel: number) =>
  Buffer.concat(all.filter((frame) => frame.channel === channel).map((frame) => frame.payload)).toString()

function run(peer: Peer, stream: string, id = 'run'): void {
  peer.send({ jsonrpc: '2.0', id, method: 'exec/run', params: { loop: 'x', command: ['x'], stream } })
}

describe('a raw stream', () => {
  it('should keep channels apart, end each, and hang up when all is sent', async () => {
    await using server = await serverOf(async (io) => {
      io.stdout.write('out')
      io.stderr.write('err')
      await pipeline(io.stdin, io.stdout)
      return 7
    })
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    const socket = await attach(server.path, token)
    run(peer, stream)
    socket.write(
      Buffer.concat([encodeFrame(CHANNEL.stdin, Buffer.from(' in')), encodeFrame(CHANNEL.stdin, Buffer.alloc(0))]),
    )
    const all = await frames(socket)
    expect(textOf(all, CHANNEL.stdout)).toBe('out in')
    expect(textOf(all, CHANNEL.stderr)).toBe('err')
    expect(
      all
        .filter(({ payload }) => payload.length === 0)
        .map(({ channel }) => channel)
        .sort(),
    ).toEqual([1, 2])
    expect((await peer.answer('run')).result).toEqual({ ...done, exitCode: 7 })
  })

  it('should take bytes that come with the token, and a token in pieces', async () => {
    await using server = await serverOf(echo)
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    const socket = connect(server.path)
    for (const piece of ['STR', 'EAM ', token.slice(0, 9)]) {
      socket.write(piece)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    socket.write(
      Buffer.concat([
        Buffer.from(`${token.slice(9)}\n`),
        encodeFrame(CHANNEL.stdin, Buffer.from('early')),
        encodeFrame(CHANNEL.stdin, Buffer.alloc(0)),
      ]),
    )
    run(peer, stream)
    expect(textOf(await frames(socket), CHANNEL.stdout)).toBe('early')
  })

  it('should split output that is larger than a frame, and not mistake empty output for the end', async () => {
    await using server = await serverOf(async (io) => {
      io.stdout.write(Buffer.alloc(0))
      io.stdout.write(Buffer.alloc(2_500_000, 'x'))
      return 0
    })
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    const socket = await attach(server.path, token)
    run(peer, stream)
    const output = (await frames(socket)).filter(({ channel }) => channel === CHANNEL.stdout)
    expect(textOf(output, CHANNEL.stdout)).toBe('x'.repeat(2_500_000))
    expect(output.findIndex(({ payload }) => payload.length === 0)).toBe(output.length - 1)
  })

  it('should carry 200 MB both ways with flat memory', async () => {
    await using server = await serverOf(echo)
    await using client = await server.client()
    const process_ = await client.exec.spawn({ loop: 'x', command: ['cat'] })
    process_.stderr.resume()
    const chunk = Buffer.alloc(1_000_000, 'loop')
    const total = 200
    const sent = createHash('sha256')
    const received = createHash('sha256')
    const most = 100_000_000
    const before = heldBytes()
    let bytes = 0
    let peak = 0
    const reading = (async () => {
      for await (const piece of process_.stdout) {
        received.update(piece)
        bytes += piece.length
        peak = Math.max(peak, heldBytes(before + most))
      }
    })()
    for (let index = 0; index < total; index += 1) {
      sent.update(chunk)
      if (!process_.stdin.write(chunk)) await once(process_.stdin, 'drain')
    }
    process_.stdin.end()
    await reading
    expect(bytes).toBe(total * chunk.length)
    expect(received.digest('hex')).toBe(sent.digest('hex'))
    expect((await process_.exit).exitCode).toBe(0)
    expect(peak - before).toBeLessThan(most)
  }, 60_000)

  it('should slow the command down when the client does not read, and end it when that goes away', async () => {
    let written = 0
    await using server = await serverOf(async (io, signal) => {
      const piece = Buffer.alloc(65_536)
      const endless = new Readable({
        read: () => {
          written += piece.length
          endless.push(piece)
        },
      })
      await pipeline(endless, io.stdout, { signal })
      return 0
    })
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    const socket = await attach(server.path, token)
    socket.pause()
    run(peer, stream)
    await vi.waitFor(() => expect(written).toBeGreaterThan(0))
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(written).toBeLessThan(4_000_000)
    socket.destroy()
    await peer.answer('run')
  })

  it('should let control messages through while nobody reads stdin', async () => {
    const got = deferred<ExecControl>()
    await using server = await serverOf(async (io) => {
      io.onControl((message) => got.resolve(message))
      await got.promise
      return 130
    })
    await using client = await server.client()
    const child = await client.exec.spawn({ loop: 'x', command: ['sleep'] })
    child.stdout.resume()
    child.stderr.resume()
    child.stdin.on('error', () => undefined)
    child.stdin.write(Buffer.alloc(8 * STREAM_WINDOW_BYTES))
    await new Promise((resolve) => setTimeout(resolve, 50))
    child.kill('SIGINT')
    expect(await got.promise).toEqual({ type: 'signal', signal: 'SIGINT' })
    expect((await child.exit).exitCode).toBe(130)
  })

  it('should hold no more than the window of a client that ignores it', async () => {
    const go = deferred<void>()
    await using server = await serverOf(async (io) => {
      await go.promise
      let bytes = 0
      for await (const piece of io.stdin) bytes += piece.length
      return bytes === 20_000_000 ? 0 : 1
    })
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    const socket = await attach(server.path, token)
    run(peer, stream)
    let flushed = 0
    for (let index = 0; index < 20; index += 1) {
      socket.write(encodeFrame(CHANNEL.stdin, Buffer.alloc(1_000_000)), () => {
        flushed += 1
      })
    }
    socket.write(encodeFrame(CHANNEL.stdin, Buffer.alloc(0)))
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(flushed).toBeLessThan(5)
    go.resolve()
    socket.resume()
    expect((await peer.answer('run')).result).toEqual(done)
  })

  it('should not hold up a client whose command does not want its input', async () => {
    await using server = await serverOf(async (io) => {
      io.stdin.destroy()
      io.stdout.write('early')
      return 3
    })
    await using client = await server.client()
    const child = await client.exec.spawn({ loop: 'x', command: ['true'] })
    child.stderr.resume()
    child.stdin.on('error', () => undefined)
    child.stdin.end(Buffer.alloc(50_000_000))
    let text = ''
    for await (const piece of child.stdout) text += piece
    expect(text).toBe('early')
    expect((await child.exit).exitCode).toBe(3)
  })

  it.each([
    ['an unknown channel', Buffer.from([9, 0, 0, 0, 0])],
    ['output from the client', encodeFrame(CHANNEL.stdout, Buffer.from('x'))],
    ['an oversized frame', Buffer.from([0, 0x7f, 0xff, 0xff, 0xff])],
    ['input behind its end', Buffer.concat([encodeFrame(0, Buffer.alloc(0)), encodeFrame(0, Buffer.from('x'))])],
    ['control that is no JSON', encodeFrame(CHANNEL.control, Buffer.from('{'))],
    ['control of an unknown form', encodeFrame(CHANNEL.control, Buffer.from('{"type":"signal","signal":"SIGKILL"}'))],
    [
      'control with unknown keys',
      encodeFrame(CHANNEL.control, Buffer.from('{"type":"resize","cols":1,"rows":1,"x":1}')),
    ],
    ['huge control', encodeFrame(CHANNEL.control, Buffer.from(JSON.stringify({ type: 'x'.repeat(5000) })))],
  ])('should end only that stream on %s', async (_what, bytes) => {
    await using server = await serverOf(async (io) => {
      await once(io.stdout, 'close')
      return 1
    })
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    const socket = await attach(server.path, token)
    run(peer, stream)
    socket.write(bytes)
    await once(socket.resume(), 'close')
    expect((await peer.answer('run')).result).toMatchObject({ exitCode: 1 })
    expect((await peer.request('loop/list')).result).toBeDefined()
  })

  it('should keep control messages for a listener that comes later, and tell it when the client hangs up', async () => {
    const seen: ExecControl[] = []
    const gone = deferred<void>()
    await using server = await serverOf(async (io) => {
      await new Promise((resolve) => setTimeout(resolve, 50))
      const stop = io.onControl((message) => seen.push(message))
      await once(io.stdin.resume(), 'close')
      stop()
      gone.resolve()
      return 0
    })
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    const socket = await attach(server.path, token)
    run(peer, stream)
    socket.write(encodeFrame(CHANNEL.control, Buffer.from('{"type":"resize","cols":80,"rows":24}')))
    await vi.waitFor(() => expect(seen).toEqual([{ type: 'resize', cols: 80, rows: 24 }]))
    socket.destroy()
    await gone.promise
  })

  it('should end with the connection that asked for it, connected or not', async () => {
    await using server = await serverOf(echo)
    const peer = await server.initialized()
    const first = await open(peer)
    const second = await open(peer)
    const socket = await attach(server.path, first.token)
    await peer[Symbol.asyncDispose]()
    await once(socket.resume(), 'close')
    const late = await attach(server.path, second.token)
    await once(late.resume(), 'close')
    await vi.waitFor(() => expect(server.server.connections).toBe(0))
  })

  it('should not keep a cancelled request waiting for a client that does not read', async () => {
    const began = deferred<void>()
    await using server = await serverOf(async (io, signal) => {
      io.stdout.write(Buffer.alloc(20_000_000))
      began.resolve()
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
      await io.close()
      throw signal.reason
    })
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    const socket = await attach(server.path, token)
    socket.pause()
    run(peer, stream)
    await began.promise
    peer.send({ jsonrpc: '2.0', method: '$/cancelRequest', params: { id: 'run' } })
    expect((await peer.answer('run')).error?.data.name).toBe('cancelled')
    socket.destroy()
  })

  it('should end when the request fails', async () => {
    await using server = await serverOf(() => Promise.reject(new Error('no')))
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    const socket = await attach(server.path, token)
    run(peer, stream)
    expect((await peer.answer('run')).error?.data.name).toBe('internal')
    await once(socket.resume(), 'close')
  })
})

describe('a token', () => {
  it('should be good for one connection', async () => {
    await using server = await serverOf(echo)
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    expect(token).toMatch(/^[0-9a-f]{64}$/)
    const socket = await attach(server.path, token)
    const thief = await attach(server.path, token)
    await once(thief.resume(), 'close')
    run(peer, stream)
    socket.write(encodeFrame(CHANNEL.stdin, Buffer.alloc(0)))
    await frames(socket)
    expect((await peer.answer('run')).result).toEqual(done)
  })

  it.each([
    ['empty', ''],
    ['unknown', '0'.repeat(64)],
    ['not hexadecimal', 'x'.repeat(64)],
    ['endless', '0'.repeat(200)],
    ['two words', 'a b'],
    ['a path', '../../etc'],
  ])('should be refused when it is %s', async (_what, token) => {
    await using server = await serverOf(echo)
    const socket = await attach(server.path, token)
    await once(socket.resume(), 'close')
  })

  it('should expire, and requests that wait for it should be told', async () => {
    await using server = await serverOf(echo, { tokenMs: 1000 })
    await using peer = await server.initialized()
    const { stream, token } = await open(peer)
    run(peer, stream)
    const { error } = await peer.answer('run')
    expect(error).toMatchObject({ code: 1031, data: { name: 'stream_invalid', next: expect.any(String) } })
    expect(error?.message).toContain('1000 ms')
    const socket = await attach(server.path, token)
    await once(socket.resume(), 'close')
  })

  it('should belong to the connection that asked for it, and be used once', async () => {
    const go = deferred<void>()
    await using server = await serverOf(async () => {
      await go.promise
      return 0
    })
    await using owner = await server.initialized()
    await using foreign = await server.initialized()
    const { stream, token } = await open(owner)
    const socket = await attach(server.path, token)
    run(foreign, stream)
    expect((await foreign.answer('run')).error).toMatchObject({
      message: `there is no stream "${stream}"`,
      data: { name: 'stream_invalid' },
    })
    run(owner, 'unknown', 'other')
    expect((await owner.answer('other')).error?.message).toBe('there is no stream "unknown"')
    run(owner, stream, 'first')
    run(owner, stream, 'second')
    expect((await owner.answer('second')).error?.message).toContain('in use')
    go.resolve()
    expect((await owner.answer('first')).result).toEqual(done)
    socket.destroy()
  })

  it('should be limited in number, and free a place when its stream ends', async () => {
    await using server = await serverOf(echo, { limits: { maxStreams: 2 } })
    await using peer = await server.initialized()
    const { token } = await open(peer)
    await open(peer)
    expect((await peer.request('stream/open')).error?.data.name).toBe('too_many_requests')
    const socket = await attach(server.path, token)
    socket.destroy()
    await vi.waitFor(async () => expect((await peer.request('stream/open')).result).toBeDefined())
  })
})
