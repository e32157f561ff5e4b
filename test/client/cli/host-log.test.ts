import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { formatHostLogEntry } from '../../../client/cli/host-log.ts'
import { LoopatError } from '../../../protocol/error.ts'
import type { HostLogEntry } from '../../../protocol/host.ts'
import { TestHost } from './host.ts'
import { loopInfo } from './loop.ts'
import { type StubDaemon, startStub } from './stub-daemon.ts'

function entry(over: Partial<HostLogEntry> = {}): HostLogEntry {
  return {
    time: '2026-01-02T03:04:05.000Z',
    event: 'start',
    session: '89ab',
    loop: loopInfo().id,
    argv: ['gh', 'pr', 'view', '12'],
    cwd: '/home/me/.loopat/loops/1/workdir',
    rule: 'allow gh pr view * (loop)',
    code: null,
    reason: null,
    durationMs: null,
    bytesIn: null,
    bytesOut: null,
    count: null,
    ...over,
  }
}

describe('a line of the log of host commands', () => {
  it.each([
    [entry(), 'start  [allow gh pr view * (loop)]  gh pr view 12'],
    [
      entry({ event: 'end', code: 0, durationMs: 1200, bytesIn: 0, bytesOut: 1434 }),
      'end 0 (1s, in 0 B, out 1.4 KiB)  [allow gh pr view * (loop)]  gh pr view 12',
    ],
    [
      entry({ event: 'end', code: 124, reason: 'time limit', durationMs: 3_600_000, bytesIn: 5, bytesOut: 0 }),
      'end 124 (time limit, 1h, in 5 B, out 0 B)  [allow gh pr view * (loop)]  gh pr view 12',
    ],
    [
      entry({ event: 'deny', code: 126, rule: 'no grant', argv: ['rm', '-rf', 'a b', "it's", '', '$HOME'] }),
      "deny 126  [no grant]  rm -rf 'a b' 'it'\\''s' '' '$HOME'",
    ],
    [entry({ event: 'ask' }), 'ask  [allow gh pr view * (loop)]  gh pr view 12'],
    [entry({ event: 'limit', count: 37, argv: [], rule: 'rate' }), 'limit 37  [rate]'],
  ])('should tell what happened: %#', (one, text) => {
    expect(formatHostLogEntry(one, 'fix-login', false)).toBe(`2026-01-02T03:04:05.000Z  fix-login  ${text}\n`)
  })

  it('should obey nothing, and have nothing behind the command', () => {
    const bad = entry({ argv: ['a\x1b[2J\n2026', '\u202e'], rule: 'r\x07', reason: 'x\r', time: 't\x9b' })
    expect(formatHostLogEntry(bad, 'l\x00', false)).toBe(
      "t\\x9b  l\\x00  start (x\\x0d)  [r\\x07]  'a\\x1b[2J\\x0a2026' '\\u{202e}'\n",
    )
  })

  it('should be coloured by what it means', () => {
    const failed = entry({ event: 'end', code: 1 })
    expect(formatHostLogEntry(failed, 'l', true)).toContain('\x1b[31mend 1\x1b[39m')
    expect(formatHostLogEntry({ ...failed, code: 0 }, 'l', true)).toContain('\x1b[2mend 0\x1b[22m')
    expect(formatHostLogEntry(entry({ event: 'deny' }), 'l', true)).toContain('\x1b[31mdeny\x1b[39m')
  })
})

describe('loopctl host log', () => {
  let stub: StubDaemon

  beforeEach(async () => {
    stub = await startStub()
    stub.on('loop/list', () => ({ loops: [loopInfo()] }))
    stub.on('host/log', () => ({ entries: [entry(), entry({ loop: '99999999-2222' })], next: 'n1' }))
  })
  afterEach(() => stub[Symbol.asyncDispose]())

  const run = (...words: string[]) => new TestHost({ socket: stub.socket }).run('host', 'log', ...words)
  const sent = (method: string) => stub.calls.filter((call) => call.method === method).map(({ params }) => params)

  it('should print what there is, with the names of loops that are known', async () => {
    expect(await run()).toEqual({
      code: 0,
      stderr: '',
      stdout: [
        '2026-01-02T03:04:05.000Z  fix-login  start  [allow gh pr view * (loop)]  gh pr view 12',
        '2026-01-02T03:04:05.000Z  99999999  start  [allow gh pr view * (loop)]  gh pr view 12',
        '',
      ].join('\n'),
    })
    expect(sent('host/log')).toEqual([{}])
  })

  it('should take a loop and a number of lines', async () => {
    await run('fix-login', '-n', '7')
    await run('--lines', '1000')
    expect(sent('host/log')).toEqual([{ loop: 'fix-login', limit: 7 }, { limit: 1000 }])
  })

  it('should print one JSON object per line, as they are, and ask for no names', async () => {
    const raw = entry({ argv: ['a\x9b'] })
    stub.on('host/log', () => ({ entries: [raw, entry()], next: 'n1' }))
    const { stdout } = await run('--json')
    expect(stdout).not.toContain('\x9b')
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([raw, entry()])
    expect(sent('loop/list')).toEqual([])
  })

  it('should print nothing when there is nothing', async () => {
    stub.on('host/log', () => ({ entries: [], next: 'n0' }))
    expect(await run()).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  it('should go on where it was until it is interrupted', async () => {
    const answers = [
      { entries: [entry()], next: 'n1' },
      { entries: [], next: 'n1' },
      { entries: [entry({ event: 'end', code: 0 })], next: 'n2' },
    ]
    stub.on('host/log', (_params, { signal }) => {
      const answer = answers.shift()
      if (answer !== undefined) return answer
      return new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new LoopatError('cancelled', 'cancelled'))),
      )
    })
    const host = new TestHost({ socket: stub.socket })
    const done = host.run('host', 'log', '-f', '-n', '1', 'fix-login')
    await vi.waitFor(() => expect(sent('host/log')).toHaveLength(4))
    host.signal('SIGINT')
    const { code, stdout } = await done
    expect({ code, lines: stdout.split('\n').length }).toEqual({ code: 130, lines: 3 })
    expect(sent('host/log')).toEqual([
      { loop: 'fix-login', limit: 1 },
      { loop: 'fix-login', after: 'n1', waitMs: 30_000 },
      { loop: 'fix-login', after: 'n1', waitMs: 30_000 },
      { loop: 'fix-login', after: 'n2', waitMs: 30_000 },
    ])
    expect(sent('loop/list')).toHaveLength(1)
  })

  it('should say that the daemon went away', async () => {
    stub.on('host/log', ({ after }, call) => {
      if (after !== undefined) call.disconnect()
      return { entries: [entry()], next: 'n1' }
    })
    const { code, stdout } = await run('-f')
    expect({ code, lines: stdout.split('\n').length }).toEqual({ code: 6, lines: 2 })
  })

  it.each([[['-n', '0']], [['-n', '-1']], [['-n', '1.5']], [['-n', 'x']], [['-n']], [['a', 'b']]])(
    'should refuse %j',
    async (words) => {
      expect((await run(...words)).code).toBe(2)
      expect(stub.calls).toEqual([])
    },
  )
})
