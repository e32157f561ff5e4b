import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { LoopatError } from '@loopatd/protocol'
import { type ContainerEngine, type EngineExec, isEngineError } from '../engine/engine.ts'
import type { RunInLoop, RunInLoopOptions } from '../git/run-in-loop.ts'
import { abortable } from '../lib/abort.ts'
import { toLoopError } from './loop-failure.ts'

/** Exit code of a missing program, as shells have it. */
const NOT_FOUND = 127
/** Default of {@link RunInLoopOptions.maxBytes}. */
const MAX_BYTES = 16_777_216
/** Most of stderr that is collected, in bytes; output may be far larger, what goes wrong is not. */
const MAX_STDERR_BYTES = 1_048_576

/** Where commands run. */
export interface RunPlace {
  readonly container: string
  readonly workdir: string
  readonly env: Readonly<Record<string, string>>
}

/** Makes a runner of commands inside one running loop. */
export function runnerOf(engine: Pick<ContainerEngine, 'exec'>, place: RunPlace): RunInLoop {
  return async (command, options, signal) => {
    try {
      const spec = { command: [...command], cwd: place.workdir, env: place.env, stdin: false }
      const exec = await engine.exec(place.container, spec, signal)
      return await finish(exec, options, signal)
    } catch (error) {
      if (isEngineError(error, 'command_not_found')) {
        return { exitCode: NOT_FOUND, stdout: Buffer.alloc(0), stderr: Buffer.from(error.message) }
      }
      throw toLoopError(error, { doing: `run ${command[0] ?? 'a command'} in the loop`, refusal: 'engine_failed' })
    }
  }
}

async function finish(exec: EngineExec, { stdout, maxBytes = MAX_BYTES }: RunInLoopOptions, signal: AbortSignal) {
  try {
    const work = Promise.all([
      exec.exit,
      stdout === undefined ? collect(exec.stdout, maxBytes) : pass(exec.stdout, stdout, maxBytes),
      collect(exec.stderr, Math.min(maxBytes, MAX_STDERR_BYTES)),
    ])
    const [exit, out, err] = await abortable(work, signal)
    return { exitCode: exit.exitCode, stdout: out, stderr: err }
  } catch (error) {
    await exec.kill('SIGKILL')
    throw error
  } finally {
    exec.close()
  }
}

async function collect(source: Readable, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of limited(source, maxBytes)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function pass(source: Readable, target: Writable, maxBytes: number): Promise<Buffer> {
  await pipeline(limited(source, maxBytes), target, { end: false })
  return Buffer.alloc(0)
}

async function* limited(source: Readable, maxBytes: number): AsyncGenerator<Buffer> {
  let bytes = 0
  for await (const chunk of source as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxBytes)
      throw new LoopatError('engine_failed', `a command in the loop wrote more than ${maxBytes} bytes`)
    yield chunk
  }
}
