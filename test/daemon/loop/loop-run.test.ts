import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runnerOf } from '../../../daemon/loop/loop-run.ts'
import { FakeEngine } from '../../fake/engine.ts'
import { never } from './kit.ts'

const place = { container: 'c', workdir: '/w', env: { GREETING: 'hello' } }

describe('commands in a loop', () => {
  let engine: FakeEngine

  beforeEach(async () => {
    engine = new FakeEngine({ images: ['localhost/x:1'] })
    await engine.container.create({
      name: 'c',
      image: 'localhost/x:1',
      hostname: 'c',
      labels: {},
      command: ['sleep', '1000'],
      workdir: '/',
      env: {},
      mounts: [],
      keepId: { uid: 2000, gid: 2000 },
      init: true,
      network: { kind: 'none' },
      dns: [],
      limits: {},
      stopTimeoutSeconds: 5,
    })
    await engine.container.start('c')
  })

  afterEach(async () => {
    await engine[Symbol.asyncDispose]()
  })

  const run = (script: string, options: { stdout?: PassThrough; maxBytes?: number } = {}, signal = never) =>
    runnerOf(engine.container, place)(['sh', '-c', script], options, signal)

  it('should collect output and exit code, without stdin', async () => {
    const { exitCode, stdout, stderr } = await run('echo "$GREETING"; cat; echo oops >&2; exit 7')
    expect({ exitCode, stdout: stdout.toString(), stderr: stderr.toString() }).toEqual({
      exitCode: 7,
      stdout: 'hello\n',
      stderr: 'oops\n',
    })
  })

  it('should pass output on and not end its target', async () => {
    const target = new PassThrough()
    const { stdout } = await run('echo one', { stdout: target })
    expect(stdout).toHaveLength(0)
    await run('echo two', { stdout: target })
    target.end()
    expect(Buffer.concat(await target.toArray()).toString()).toBe('one\ntwo\n')
  })

  it('should answer 127 for a program that is not there', async () => {
    const result = await runnerOf(engine.container, place)(['no-such-program'], {}, never)
    expect(result.exitCode).toBe(127)
  })

  it.each([true, false])('should end a command that writes too much (passed on: %s)', async (passed) => {
    const target = new PassThrough()
    target.resume()
    const options = passed ? { stdout: target, maxBytes: 1000 } : { maxBytes: 1000 }
    await expect(run('exec yes', options)).rejects.toThrow('more than 1000 bytes')
  })

  it('should end a command whose caller gives up', async () => {
    const caller = new AbortController()
    const running = run('exec sleep 1000', {}, caller.signal)
    await new Promise((resolve) => setTimeout(resolve, 50))
    caller.abort(new Error('gone'))
    await expect(running).rejects.toThrow('gone')
  })

  it('should fail with a catalogue error when the loop does not run', async () => {
    await engine.container.stop('c', 1)
    await expect(run('true')).rejects.toMatchObject({ code: 'engine_failed' })
  })
})
