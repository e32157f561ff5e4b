import { readSync } from 'node:fs'
import type { Duplex, Writable } from 'node:stream'

/** More than the kernel keeps for a unix socket by default, so that one read usually gets all. */
const CHUNK_BYTES = 256 * 1024

/**
 * Pipes what a connection receives into `writer`, to the very last byte.
 *
 * A command that ends without having read its input makes our next write fail. Node then destroys the socket, and with
 * it all output that was not read yet. So before the socket goes, what it still holds is rescued: the other side has
 * closed, nothing more can come. `writer` is ended in any case, except when the socket is destroyed without an error,
 * which only we ourselves do: then it is destroyed.
 */
export function pipeToTheEnd(socket: Duplex, writer: Writable): void {
  const destroy = socket.destroy.bind(socket)
  socket.destroy = (error) => {
    socket.destroy = destroy
    if (error !== undefined && error !== null && !socket.readableEnded) {
      socket.unpipe(writer)
      for (const chunk of rescue(socket)) writer.write(chunk)
      writer.end()
    }
    return destroy(error)
  }
  // Its reason is of no interest: whether the command has ended is asked afterwards.
  socket.on('error', () => undefined)
  socket.on('close', () => {
    if (!writer.writableEnded) writer.destroy()
  })
  socket.pipe(writer)
}

function* rescue(socket: Duplex): Generator<Buffer> {
  for (let chunk: unknown = socket.read(); Buffer.isBuffer(chunk); chunk = socket.read()) yield chunk
  const fd = descriptorOf(socket)
  if (fd === undefined) return
  for (let chunk = readNow(fd); chunk.length > 0; chunk = readNow(fd)) yield chunk
}

/** Node has no public name for a socket's descriptor. Where it can't be had, nothing is rescued and the end of the output is missing. */
function descriptorOf(socket: Duplex): number | undefined {
  const handle: unknown = Reflect.get(socket, '_handle')
  if (typeof handle !== 'object' || handle === null) return undefined
  const fd: unknown = Reflect.get(handle, 'fd')
  return typeof fd === 'number' && fd >= 0 ? fd : undefined
}

/** Reads without waiting; nothing at the end, or when the connection is broken. */
function readNow(fd: number): Buffer {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  try {
    return buffer.subarray(0, readSync(fd, buffer))
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['EAGAIN', 'ECONNRESET', 'EPIPE'].includes(String(error.code))) {
      return buffer.subarray(0, 0)
    }
    throw error
  }
}
