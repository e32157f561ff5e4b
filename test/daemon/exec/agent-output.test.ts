import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { AgentOutput } from '../../../daemon/exec/agent-output.ts'
import { ReadBuffers } from '../../../daemon/exec/read-buffers.ts'
import { errorCode } from '../../../daemon/lib/error-code.ts'
import { makeFifos } from '../../../daemon/lib/fifo.ts'

/** Bytes of which a child writes no more: a test that fails is to end. */
const ENDLESS = 64 * 1_048_576

describe('AgentOutput', () => {
  let directory: string
  let child: number
  let output: AgentOutput
  /** Bytes that the child has written, and whether it writes whenever there is room. */
  let written: number
  let isWriting: boolean

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-output-'))
    const path = join(directory, 'out')
    await makeFifos([path])
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    child = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
    written = 0
    isWriting = false
    const buffers = new ReadBuffers()
    const take = buffers.take.bind(buffers)
    buffers.take = () => {
      if (isWriting) fill()
      return take()
    }
    output = new AgentOutput({ fd, buffers })
  })

  afterEach(async () => {
    output.destroy()
    closeSync(child)
    await rm(directory, { recursive: true })
  })

  function fill(): void {
    try {
      while (written < ENDLESS) written += writeSync(child, Buffer.alloc(65_536))
    } catch (error) {
      if (errorCode(error) !== 'EAGAIN') throw error
    }
  }

  it('should give what was in the pipe when the command ended', async () => {
    writeSync(child, 'first ')
    writeSync(child, 'last')
    await output.finish()
    expect(String(Buffer.concat(await output.toArray()))).toBe('first last')
  })

  it.each([false, true])('should not be held up by children that write on and on; listened to: %j', async (isHeard) => {
    let [taken, turns] = [0, 0]
    const count = setInterval(() => (turns += 1), 0)
    output.on('data', (chunk: Buffer) => (taken += chunk.length))
    if (isHeard) output.listen()
    isWriting = true
    await output.finish()
    clearInterval(count)
    expect(taken).toBeGreaterThanOrEqual(1_048_576)
    expect(taken).toBeLessThan(2 * 1_048_576)
    expect(turns).toBeGreaterThan(0)
  })

  it('should leave no listener behind for each time that its sink was behind', async () => {
    const sink = new Writable({ write: (_chunk, _encoding, done) => void setTimeout(done, 2) })
    const forwarded = output.forwardTo(sink)
    const listeners = output.listenerCount('close')
    isWriting = true
    await output.finish()
    expect(output.listenerCount('close')).toBe(listeners)
    await forwarded
  })
})
