import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LoopatError } from '../../../../protocol/error.ts'
import type { JobInfo } from '../../../../protocol/job.ts'
import { TestHost } from '../host.ts'
import { type StubDaemon, startStub } from '../stub-daemon.ts'

const job: JobInfo = {
  id: '0123abcd',
  loop: 'l',
  command: ['make', '-j4', 'all\x1b'],
  cwd: null,
  state: 'running',
  exitCode: null,
  reason: null,
  keepalive: true,
  maxLogBytes: 65_536,
  startedAt: new Date().toISOString(),
  endedAt: null,
}

describe('loopctl job', () => {
  let stub: StubDaemon

  beforeEach(async () => {
    stub = await startStub()
    stub.on('job/start', () => ({ job }))
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  const run = (...words: string[]) => new TestHost({ socket: stub.socket }).run('job', ...words)
  const params = () =>
    Object.fromEntries(Object.entries(stub.calls.at(-1)?.params ?? {}).filter(([name]) => name !== 'progressToken'))

  it('should start a command as it is, and print the id', async () => {
    expect(await run('start', 'x', '--', 'make', '-j4')).toEqual({ code: 0, stdout: '0123abcd\n', stderr: '' })
    expect(params()).toEqual({ loop: 'x', command: ['make', '-j4'], start: true, keepalive: true })
    await run('start', '--no-keepalive', '--no-start', '--max-log', '70000', '-w', '/tmp', '-e', 'A=b', 'x', 'ls', '-l')
    expect(params()).toEqual({
      loop: 'x',
      command: ['ls', '-l'],
      cwd: '/tmp',
      env: { A: 'b' },
      start: false,
      keepalive: false,
      maxLogBytes: 70_000,
    })
    expect(JSON.parse((await run('start', '--json', 'x', 'ls')).stdout)).toEqual(job)
  })

  it('should wait on when the daemon goes away and another one comes, and take other errors as they are', async () => {
    let count = 0
    stub.on('job/wait', (_params, call) => {
      count += 1
      if (count === 1) throw new LoopatError('daemon_stopping', 'the daemon is shutting down')
      if (count === 2) call.disconnect()
      return { job: { ...job, state: 'exited', exitCode: 3 } }
    })
    expect(await run('wait', 'x', job.id)).toMatchObject({ code: 3 })
    expect(count).toBe(3)
    stub.on('job/wait', () => {
      throw new LoopatError('job_not_found', 'there is none')
    })
    expect(await run('wait', 'x', job.id)).toMatchObject({ code: 125 })
  })

  it('should follow both outputs on, though only one is told that the daemon goes away', async () => {
    let isTold = false
    stub.on('job/logs', async ({ stream }) => {
      if (stream === 'stdout' && !isTold) {
        isTold = true
        throw new LoopatError('daemon_stopping', 'the daemon is shutting down')
      }
      if (stream === 'stderr') await new Promise((resolve) => setTimeout(resolve, 400))
      const data = Buffer.from(`${stream}\n`)
      const offsets = { offset: 0, nextOffset: 7, firstOffset: 0, endOffset: 7 }
      return { data: data.toString('base64'), ...offsets, eof: true, cut: false }
    })
    const ended = { code: 0, stdout: 'stdout\n', stderr: 'stderr\n' }
    expect(await run('logs', '-f', 'x', job.id)).toEqual(ended)
  })

  it('should be started by exec --detach, too', async () => {
    const host = new TestHost({ socket: stub.socket })
    expect(await host.run('exec', '-d', 'x', '--', 'make')).toEqual({ code: 0, stdout: '0123abcd\n', stderr: '' })
    expect(params()).toEqual({ loop: 'x', command: ['make'], start: true })
    expect((await new TestHost({ socket: stub.socket }).run('exec', '-d', '-u', 'root', 'x', 'make')).code).toBe(125)
  })

  it.each([
    [['start', 'x']],
    [['start', 'x', '--']],
    [['start', 'x', '-w', '/tmp', 'ls']],
    [['start', '--max-log', '1M', 'x', 'ls']],
    [['start', '-u', 'root', 'x', 'ls']],
    [['logs', 'x']],
    [['logs', '--offset', '3', 'x', '0123abcd']],
    [['logs', '--offset', '3', '--tail', '3', '--stream', 'stdout', 'x', '0123abcd']],
    [['logs', '--stream', 'stdin', 'x', '0123abcd']],
    [['kill', '-s', 'STOP', 'x', '0123abcd']],
    [['nonsense']],
  ])('should refuse %j', async (words) => {
    expect((await run(...words)).code).toBe(2)
    expect(stub.calls).toEqual([])
  })

  it('should list jobs', async () => {
    const over: JobInfo = { ...job, id: '11111111', command: ['true'], state: 'exited', exitCode: 3 }
    const lost: JobInfo = { ...job, id: '22222222', command: ['false'], state: 'lost', reason: 'the loop was stopped' }
    stub.on('job/list', () => ({ jobs: [job, over, lost] }))
    expect(
      (await run('ls', 'x')).stdout
        .replace(/ +/g, ' ')
        .replace(/ \d+s /g, ' 0s ')
        .split('\n'),
    ).toEqual([
      'JOB AGE STATE COMMAND',
      '0123abcd 0s running make -j4 all\\x1b',
      '11111111 0s exited 3 true',
      '22222222 0s lost (the loop was stopped) false',
      '',
    ])
    expect(JSON.parse((await run('ls', '--json', 'x')).stdout)).toHaveLength(3)
    stub.on('job/list', () => ({ jobs: [] }))
    expect(await run('ls', 'x')).toMatchObject({
      stdout: '',
      stderr: 'No jobs. Start one with: loopctl job start x COMMAND\n',
    })
  })

  /** Answers with text of one stream, in parts of at most four bytes; the beginning of it is gone. */
  function serve(texts: Readonly<Record<string, string>>, first = 0, isCut = false): void {
    stub.on('job/logs', ({ stream, offset, tailBytes }) => {
      const text = texts[String(stream)] ?? ''
      const end = first + text.length
      const at = Math.max(first, Number(offset ?? (tailBytes === undefined ? 0 : end - Number(tailBytes))))
      const data = text.slice(at - first, at - first + 4)
      const nextOffset = at + data.length
      const offsets = { offset: at, nextOffset, firstOffset: first, endOffset: end }
      return { data: Buffer.from(data).toString('base64'), ...offsets, eof: nextOffset === end, cut: isCut }
    })
  }

  it('should say where a log ends too early', async () => {
    serve({ stdout: 'half\n' }, 0, true)
    const { stdout, stderr } = await run('logs', '--stream', 'stdout', 'x', '0123abcd')
    expect({ stdout, stderr }).toEqual({
      stdout: 'half\n',
      stderr: 'The disk had no room for what came after byte 5 of stdout.\n',
    })
  })

  it('should print both outputs, each to its own', async () => {
    serve({ stdout: 'this goes out\n', stderr: 'and this not\n' })
    expect(await run('logs', 'x', '0123abcd')).toEqual({ code: 0, stdout: 'this goes out\n', stderr: 'and this not\n' })
    expect(await run('logs', '--tail', '4', 'x', '0123abcd')).toMatchObject({ stdout: 'out\n', stderr: 'not\n' })
    const one = await run('logs', '--stream', 'stdout', '--offset', '5', 'x', '0123abcd')
    expect(one).toMatchObject({ stdout: 'goes out\n', stderr: '' })
  })

  it('should say when the beginning is gone', async () => {
    serve({ stdout: 'end\n' }, 1000)
    const { stdout, stderr } = await run('logs', '--stream', 'stdout', 'x', '0123abcd')
    expect({ stdout, stderr }).toEqual({
      stdout: 'end\n',
      stderr: 'The first 1000 bytes of stdout are not kept any more.\n',
    })
  })

  it('should wait for more when it follows, and only then', async () => {
    const parts = ['a', '', 'b']
    stub.on('job/logs', ({ offset = 0 }) => {
      const data = parts.shift() ?? ''
      const nextOffset = Number(offset) + data.length
      const offsets = { offset, nextOffset, firstOffset: 0, endOffset: nextOffset }
      return { data: Buffer.from(data).toString('base64'), ...offsets, eof: parts.length === 0 }
    })
    expect((await run('logs', '-f', '--stream', 'stdout', 'x', '0123abcd')).stdout).toBe('ab')
    expect(params()).toMatchObject({ offset: 1, waitMs: 30_000 })
    parts.push('c', 'd')
    expect((await run('logs', '--stream', 'stdout', 'x', '0123abcd')).stdout).toBe('c')
  })

  it('should exit as the job did', async () => {
    stub.on('job/wait', () => ({ job: { ...job, state: 'exited', exitCode: 3 } }))
    expect(await run('wait', 'x', '0123abcd')).toEqual({ code: 3, stdout: '', stderr: '' })
    stub.on('job/wait', () => ({ job: { ...job, state: 'lost', reason: 'the loop was stopped' } }))
    expect(await run('wait', 'x', '0123abcd')).toEqual({
      code: 123,
      stdout: '',
      stderr: 'job 0123abcd: lost (the loop was stopped)\n',
    })
    stub.on('job/wait', () => {
      throw new LoopatError('job_not_found', 'no')
    })
    expect((await run('wait', 'x', '0123abcd')).code).toBe(125)
  })

  it('should end and remove jobs', async () => {
    stub.on('job/kill', () => ({ job }))
    stub.on('job/remove', () => ({}))
    expect((await run('kill', 'x', '0123abcd')).stdout).toBe('0123abcd\n')
    expect(params()).toEqual({ loop: 'x', job: '0123abcd' })
    await run('kill', '-s', 'INT', 'x', '0123abcd')
    expect(params()).toEqual({ loop: 'x', job: '0123abcd', signal: 'SIGINT' })
    await run('rm', '-f', 'x', '0123abcd')
    expect(params()).toEqual({ loop: 'x', job: '0123abcd', force: true })
  })
})
