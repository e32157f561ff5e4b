import { Transform, type TransformCallback } from 'node:stream'

/** A tar ends with two empty records. */
const END_BYTES = 1024
const RECORD_BYTES = 512

/**
 * Passes a tar through and fails when it ends too early: podman builds and tags whatever part of a context arrives.
 */
export class TarGuard extends Transform {
  #tail = Buffer.alloc(0)
  #size = 0

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    this.#size += chunk.length
    const tail = chunk.length >= END_BYTES ? chunk : Buffer.concat([this.#tail, chunk])
    this.#tail = Buffer.from(tail.subarray(Math.max(0, tail.length - END_BYTES)))
    callback(null, chunk)
  }

  override _flush(callback: TransformCallback): void {
    const isWhole =
      this.#size % RECORD_BYTES === 0 && this.#tail.length === END_BYTES && this.#tail.every((byte) => byte === 0)
    callback(isWhole ? null : new Error('the tar is cut off'))
  }
}
