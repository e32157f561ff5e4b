import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostLogEntry } from '@loopatd/protocol'
import { CHANNEL, encodeFrame, frameHeader } from '@loopatd/protocol/frame'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { HostSettings } from '../../../daemon/host/host-service.ts'
import { requestFrame, turns } from './kit.ts'
import { HostHouse, program } from './service-kit.ts'

const houses: HostHouse[] = []

async function open(settings: Partial<HostSettings> = {}): Promise<HostHouse> {
  const house = await HostHouse.open(settings)
  houses.push(house)
  return house
}

/** One with a loop that runs and may call a tool. */
async function granted(decision: 'allow' | 'ask' = 'allow', settings: Partial<HostSettings> = {}): Promise<HostHouse> {
  const house = await open(settings)
  await house.up('aa')
  await house.grant({ loop: 'a', pattern: 'tool *', decision })
  return house
}

const until = <T>(look: () => T | Promise<T>) => vi.waitFor(look, { timeout: 5_000, interval: 5 })
const ran = (house: HostHouse, count = 1) => until(() => expect(house.runner.runs).toHaveLength(count))
const asked = async (house: HostHouse) => {
  await until(async () => expect(await house.pending()).not.toEqual([]))
  const [approval] = await house.pending()
  if (approval === undefined) throw new Error('nothing waits')
  return approval
}
const short = ({ event, argv, rule, code }: HostLogEntry) => [event, argv.join(' '), rule.split(':')[0], code]
const errors = ({ lines }: HostHouse) => lines.filter(({ level }) => level === 'error')

afterEach(async () => {
  const failed = houses.flatMap(errors)
  await Promise.all(houses.splice(0).map((house) => house.close()))
  expect(failed).toEqual([])
})

describe('a loop without a grant', () => {
  it('should have no socket, and the names that it declares', async () => {
    const house = await open()
    await house.up('aa', 'bb')
    expect(existsSync(house.socket())).toBe(false)
    expect(house.arranged.get(house.control('aa'))).toEqual(['declared'])
    await house.grant({ loop: 'a', pattern: 'tool *', decision: 'deny' })
    expect(existsSync(house.socket())).toBe(false)
    await house.grant({ loop: 'a', pattern: 'other' })
    expect(existsSync(house.socket())).toBe(true)
    expect(house.arranged.get(house.control('aa'))).toEqual(['other', 'declared'])
    expect(existsSync(house.socket('bb'))).toBe(false)
    await house.grant({ pattern: 'other', decision: 'ask' })
    expect(existsSync(house.socket('bb'))).toBe(true)
  })

  it('should have none that a daemon left that was killed', async () => {
    const house = await open()
    await writeFile(house.socket(), '')
    await house.up('aa')
    expect(existsSync(house.socket())).toBe(false)
  })

  it('should have none while it does not run', async () => {
    const house = await granted()
    expect(existsSync(house.socket())).toBe(true)
    const caller = house.call('tool')
    await ran(house)
    house.service.container('aa', false)
    expect(await caller.exit()).toBe(143)
    await until(() => expect(existsSync(house.socket())).toBe(false))
  })
})

describe('a loop that is about to start', () => {
  it('should keep its socket, whatever is seen of its container before it runs', async () => {
    const house = await granted()
    house.service.container('aa', false)
    await until(() => expect(existsSync(house.socket())).toBe(false))
    await house.service.prepare('aa')
    // The container before it, and the new one that was made.
    house.service.container('aa', false)
    house.service.container('aa', false)
    await house.service.prepare('bb')
    expect(existsSync(house.socket())).toBe(true)
    house.service.container('aa', true)
    house.service.container('aa', false)
    await until(() => expect(existsSync(house.socket())).toBe(false))
  })

  it('should have none when it was removed before it ran', async () => {
    const house = await granted()
    house.service.container('aa', false)
    await house.service.prepare('aa')
    house.loops = house.loops.filter(({ id }) => id !== 'aa')
    house.service.container('aa', false)
    await until(() => expect(existsSync(house.socket())).toBe(false))
  })
})

describe('a command', () => {
  it('should run as it was called, in its directory, with what it may know', async () => {
    const house = await granted()
    const argv = [Buffer.from('tool'), Buffer.from([0xff, 0x20]), Buffer.from(''), Buffer.from('é')]
    const caller = house
      .connect()
      .send({ argv, cwd: '/loopat/work/a/b', size: '80x24', env: ['TERM=xterm', 'LD_PRELOAD=/x', 'PATH=/x'] })
    await ran(house)
    const [run] = house.runner.runs
    expect(run?.command).toMatchObject({
      path: join(house.root, 'bin/tool'),
      directory: { from: house.work(), names: ['a', 'b'] },
      size: { cols: 80, rows: 24 },
      env: { PATH: join(house.root, 'bin'), TERM: 'xterm', HOME: '/home/u', LOOPAT_HOST_LOOP: 'aa' },
    })
    expect(run?.command.argv).toEqual(argv)
    expect(Object.keys(run?.command.env ?? {})).not.toEqual(expect.arrayContaining(['LD_PRELOAD', 'SECRET']))
    expect(house.leases.list('aa')).toMatchObject([{ owner: 'host', reason: 'tool \\xff   é' }])
    run?.finish({ code: 3 })
    expect(await caller.exit()).toBe(3)
    await until(() => expect(house.leases.list('aa')).toEqual([]))
    const [start, end] = await house.log()
    expect(start).toMatchObject({ event: 'start', loop: 'aa', argv: ['tool', '\\xff ', '', 'é'] })
    expect(end).toMatchObject({ event: 'end', code: 3, reason: null, bytesIn: 1, bytesOut: 2, session: start?.session })
    expect(end?.cwd).toBe(join(house.work(), 'a/b'))
  })

  it.each<[string, (string | Buffer)[], number, string]>([
    ['nothing grants', ['other', 'x'], 126, 'no grant matches'],
    ['has a path', ['/bin/tool'], 126, 'not a plain name'],
    ['leads up', ['../tool'], 126, 'not a plain name'],
    ['is empty', [''], 126, 'not a plain name'],
    ['is an option', ['-tool'], 126, 'not a plain name'],
    ['looks alike', ['tооl'], 126, 'not a plain name'],
    ['has a line behind its name', ['tool\n'], 126, 'not a plain name'],
    ['is denied', ['tool', 'drop'], 126, 'deny by grant'],
  ])('should be refused and logged when it %s', async (_what, argv, code, rule) => {
    const house = await granted()
    await house.grant({ loop: 'a', pattern: 'tool drop', decision: 'deny' })
    const caller = house.call(...argv)
    expect(await caller.exit()).toBe(code)
    expect(caller.text).toMatch(/^loopat-host: .+\n/)
    expect(caller.started).toBe(false)
    const entries = await house.log()
    expect(entries).toHaveLength(1)
    expect(entries[0]).toMatchObject({ event: 'deny', loop: 'aa', code })
    expect(entries[0]?.rule).toContain(rule)
    expect(house.runner.runs).toEqual([])
  })

  it('should be told how its user can allow it', async () => {
    const house = await granted()
    const caller = house.call('other', 'a b', '*')
    await caller.closed
    expect(caller.text).toContain(`loopctl host grant a 'other '\\''a b'\\'' '\\''*'\\'''`)
  })

  it('should be refused in a directory that has no place', async () => {
    const house = await granted()
    expect(
      await house
        .connect()
        .send({ argv: ['tool'], cwd: '/loopat/work/a/../../..' })
        .exit(),
    ).toBe(126)
    expect((await house.log()).map(short)).toEqual([
      ['deny', 'tool', 'the directory /loopat/work/a/../../.. cannot be found on the host', 126],
    ])
  })

  it('should be refused in few words, however long it is', async () => {
    const house = await granted('ask')
    for (const argv of [
      ['other', '\u0001'.repeat(1_000_000)],
      ['tool', 'é'.repeat(500_000)],
    ]) {
      const caller = house.call(...argv)
      expect(await caller.exit()).toBe(126)
      expect(caller.text.length).toBeLessThan(20_000)
    }
    expect((await readFile(house.logPath, 'utf8')).length).toBeLessThan(40_000)
    expect(house.told).toEqual([])
  })

  it('should not run once its program is another', async () => {
    const house = await granted()
    await rm(join(house.root, 'bin/tool'))
    expect(await house.call('tool').exit()).toBe(127)
    await program(join(house.root, 'bin/tool'))
    house.call('tool')
    await ran(house)
  })

  it('should not run when it cannot be logged', async () => {
    const house = await granted()
    await mkdir(house.logPath, { recursive: true })
    const caller = house.call('tool')
    expect(await caller.exit()).toBe(125)
    expect(caller.text).toContain('cannot be written')
    const denied = house.call('other')
    expect(await denied.exit()).toBe(125)
    expect(house.runner.runs).toEqual([])
    expect(errors(house).length).toBeGreaterThan(0)
    house.lines.splice(0)
    await rm(house.logPath, { recursive: true })
    house.call('tool')
    await ran(house)
  })

  it('should have its secrets hidden in the log, those of its grant, too', async () => {
    const house = await granted('ask')
    const caller = house.call('tool', '--token=hush', '--password', 'hush hush', 'https://u:hush@host')
    const { id } = await asked(house)
    await house.approve({ approval: id, always: true })
    await ran(house)
    expect(JSON.stringify(house.leases.list())).not.toContain('hush')
    house.runner.runs[0]?.finish({ code: 0 })
    await caller.closed
    house.call('tool', '--token=hush', '--password', 'hush hush', 'https://u:hush@host')
    await ran(house, 2)
    expect(await readFile(house.logPath, 'utf8')).not.toContain('hush')
  })
})

describe('a grant', () => {
  it('should end what runs when it is taken back, and with the last one the socket', async () => {
    const house = await granted()
    await house.grant({ loop: 'a', pattern: 'other *' })
    const [tool, other] = [house.call('tool'), house.call('other')]
    await ran(house, 2)
    expect((await house.revoke({ loop: 'a', grant: 'tool *' })).map(({ pattern }) => pattern)).toEqual(['tool *'])
    expect(await tool.exit()).toBe(143)
    expect(existsSync(house.socket())).toBe(true)
    expect(await house.call('tool').exit()).toBe(126)
    expect(other.code).toBeUndefined()
    await house.revoke({ loop: 'a' })
    expect(await other.exit()).toBe(143)
    expect(existsSync(house.socket())).toBe(false)
    await expect(house.revoke({ loop: 'a', grant: 'tool *' })).rejects.toMatchObject({ code: 'grant_not_found' })
  })

  it('should end what runs even where nothing can be arranged', async () => {
    const house = await granted()
    const caller = house.call('tool')
    await ran(house)
    const set = vi.spyOn(house.arranged, 'set').mockImplementation(() => {
      throw new Error('no space')
    })
    await house.revoke({ loop: 'a' })
    expect(await caller.exit()).toBe(143)
    expect(existsSync(house.socket())).toBe(false)
    expect(errors(house)).toHaveLength(1)
    house.lines.splice(0)
    set.mockRestore()
  })

  it('should end what runs when it expires', async () => {
    const house = await open()
    await house.up('aa')
    await house.grant({ loop: 'a', pattern: 'tool', forMs: 90_000 })
    const caller = house.call('tool')
    await ran(house)
    for (let passed = 0; passed < 90_000; passed += 30_000) {
      expect(existsSync(house.socket())).toBe(true)
      house.clock.advance(30_000)
      await turns()
    }
    expect(await caller.exit()).toBe(143)
    await until(() => expect(existsSync(house.socket())).toBe(false))
    expect((await house.list()).grants).toEqual([])
  })

  it('should end what a later one denies, at once', async () => {
    const house = await granted()
    const [one, two] = [house.call('tool', 'a'), house.call('tool', 'b')]
    await ran(house, 2)
    await house.grant({ pattern: 'tool a', decision: 'deny' })
    await turns()
    // That of the loop counts before that of the workspace.
    expect([one.code, two.code]).toEqual([undefined, undefined])
    await house.grant({ loop: 'a', pattern: 'tool a', decision: 'deny' })
    expect(await one.exit()).toBe(143)
    expect(two.code).toBeUndefined()
  })

  it('should not count for a call that read it right before it was taken back', async () => {
    const house = await granted()
    for (let round = 0; round < 20; round += 1) {
      const caller = house.call('tool')
      await turns(round % 10)
      await house.revoke({ loop: 'a' })
      // What runs here ends only when it is told to.
      await until(() => expect(caller.socket.destroyed).toBe(true))
      await house.grant({ loop: 'a', pattern: 'tool *' })
    }
  })

  it('should say when it amounts to everything', async () => {
    const house = await open()
    await expect(house.grant({ pattern: 'bash -c *' })).rejects.toMatchObject({
      code: 'full_access_needed',
      details: { command: 'bash' },
    })
    expect((await house.grant({ pattern: 'bash -c *', fullAccess: true })).fullAccess).toBe(true)
    expect((await house.grant({ pattern: 'tool', fullAccess: true })).fullAccess).toBe(false)
    await house.grant({ pattern: 'bash *', decision: 'deny' })
  })

  it.each<[string, string]>([
    ['missing *', 'host_command_not_found'],
    ['/nowhere/tool *', 'host_command_not_found'],
    ['./tool', 'invalid_params'],
    ["'a b' *", 'invalid_params'],
    ["tool '", 'invalid_params'],
  ])('should be refused: %s', async (pattern, code) => {
    const house = await open()
    await expect(house.grant({ pattern })).rejects.toMatchObject({ code })
    expect((await house.list()).grants).toEqual([])
  })

  it('should not be for a program that a loop can write', async () => {
    const house = await open()
    await program(join(house.work(), 'mine'))
    await expect(house.grant({ pattern: `${house.work()}/mine *` })).rejects.toMatchObject({ code: 'host_path_unsafe' })
  })

  it('should not follow a loop to another name', async () => {
    const row = { decision: 'ask', fullAccess: false, env: {}, passEnv: [], pattern: 'tool *' } as const
    const house = await open({ grants: [{ ...row, loop: 'a' }] })
    await house.up('aa')
    house.call('tool')
    expect(await asked(house)).toMatchObject({ loopName: 'a' })
    house.loops = [
      { id: 'aa', name: 'z' },
      { id: 'bb', name: 'a' },
    ]
    const caller = house.call('tool')
    expect(await caller.exit()).toBe(126)
    expect(caller.text).toContain('loopctl host grant z ')
    house.loops = []
    expect(await house.call('tool').exit()).toBe(125)
  })

  it('should be listed in the order in which it counts, with what is wrong', async () => {
    const row = { decision: 'allow', fullAccess: false, loop: undefined, env: {}, passEnv: [] } as const
    const grants = [
      { ...row, pattern: 'bash *' },
      { ...row, pattern: 'tool config', loop: 'a' },
    ]
    const house = await open({ grants })
    await house.grant({ pattern: 'tool workspace' })
    await house.grant({ loop: 'a', pattern: 'tool one' })
    await house.grant({ loop: 'a', pattern: 'other' })
    await rm(join(house.root, 'bin/other'))
    const listed = (await house.list({ loop: 'a' })).grants
    expect(listed.map(({ pattern }) => pattern)).toEqual([
      'other',
      'tool one',
      'tool config',
      'tool workspace',
      'bash *',
    ])
    expect(listed[0]?.fault).toContain('not there any more')
    expect(listed[4]).toMatchObject({ decision: 'deny', origin: 'config', program: null })
    expect(listed[4]?.fault).toContain('can run anything')
    await writeFile(join(house.home, 'host.json'), '{')
    const after = await house.list()
    expect(after.grants.map(({ pattern }) => pattern)).toContain('tool workspace')
    expect(after.faults).toMatchObject([{ file: join(house.home, 'host.json') }])
    await expect(house.grant({ pattern: 'tool x' })).rejects.toMatchObject({ code: 'storage_failed' })
    expect(await readFile(join(house.home, 'host.json'), 'utf8')).toBe('{')
  })
})

describe('an approval', () => {
  it('should let exactly one call run', async () => {
    const house = await granted('ask')
    const [one, two] = [house.call('tool', 'a\u202eb'), house.call('tool', 'a\u202eb')]
    await until(async () => expect(await house.pending()).toHaveLength(2))
    const [first] = await house.pending()
    expect(first).toMatchObject({ argv: ['tool', 'a\\u{202e}b'], loop: 'aa', loopName: 'a', cwd: house.work() })
    expect(await house.approve({ approval: first?.id ?? '' })).toEqual({ approval: first, grant: null })
    await ran(house)
    await expect(house.approve({ approval: first?.id ?? '' })).rejects.toMatchObject({ code: 'approval_not_found' })
    const { id } = await asked(house)
    await house.deny({ approval: id })
    await Promise.race([one.closed, two.closed])
    expect([one.code, two.code].toSorted()).toEqual([126, undefined])
    expect((one.code === undefined ? two : one).text).toMatch(/waiting for an approval.*\n.*it was denied/)
    expect(house.told).toEqual(['a asks', 'a asks', 'a approved', 'a denied'])
    await until(async () => {
      const events = (await house.log()).map(({ event }) => event)
      expect(events.toSorted()).toEqual(['ask', 'ask', 'deny', 'start'])
    })
  })

  it('should be denied by silence', async () => {
    const house = await granted('ask')
    const caller = house.call('tool')
    await asked(house)
    house.clock.advance(60_000)
    expect(await caller.exit()).toBe(126)
    expect(caller.text).toContain('nobody approved it in time')
    expect((await house.log()).at(-1)?.rule).toContain('nobody approved it in time')
    expect(house.told).toEqual(['a asks', 'a expired'])
  })

  it('should count for always, though the command does not wait any more', async () => {
    const house = await granted('ask')
    house.call('tool')
    await house.approve({ approval: (await asked(house)).id })
    await ran(house)
    house.call('tool')
    const { id } = await asked(house)
    const denied = house.deny({ approval: id, always: true })
    house.clock.advance(60_000)
    await expect(denied).rejects.toMatchObject({
      code: 'approval_not_found',
      next: expect.stringContaining('The grant was added all the same'),
    })
    expect((await house.list({ loop: 'a' })).grants.map(({ pattern }) => pattern)).toEqual(['tool', 'tool *'])
    expect(await house.runner.runs[0]?.ended).toMatchObject({ reason: 'stopped' })
  })

  it.each(['caller', 'grant', 'loop'])('should end when its %s is gone', async (what) => {
    const house = await granted('ask')
    const caller = house.call('tool')
    await asked(house)
    if (what === 'caller') caller.socket.destroy()
    else if (what === 'grant') await house.revoke({ loop: 'a' })
    else house.service.container('aa', false)
    await until(() => expect(house.told).toEqual(['a asks', 'a gone']))
    expect(await house.pending()).toEqual([])
    await until(async () => expect((await house.log()).map(({ event }) => event)).toEqual(['ask', 'deny']))
    expect(house.runner.runs).toEqual([])
  })

  it.each([
    ['what a pattern holds', ['tool', 'a b', '*', "'"]],
    ['what no pattern can hold', ['tool', 'a\nb', '*', Buffer.from([0xff, 0xfe]), '']],
  ])('should be for always, and for nothing else: %s', async (_what, argv) => {
    const house = await granted('ask')
    const first = house.call(...argv)
    const { grant } = await house.approve({ approval: (await asked(house)).id, always: true })
    expect(grant).toMatchObject({ decision: 'allow', loop: 'aa', program: join(house.root, 'bin/tool') })
    await ran(house)
    house.runner.runs[0]?.finish({ code: 0 })
    await first.closed
    house.call(...argv)
    await ran(house, 2)
    house.call(...argv, '')
    house.call(...argv.slice(0, -1), 'x')
    await until(async () => expect(await house.pending()).toHaveLength(2))
    expect(house.runner.runs).toHaveLength(2)
    await house.restart()
    await house.up('aa')
    house.call(...argv)
    await ran(house)
  })

  it('should deny for always', async () => {
    const house = await granted('ask')
    const caller = house.call('tool', 'x')
    await house.deny({ approval: (await asked(house)).id, always: true })
    expect(await caller.exit()).toBe(126)
    const again = house.call('tool', 'x')
    expect(await again.exit()).toBe(126)
    expect(house.told).toEqual(['a asks', 'a denied'])
  })

  it('should wait on when its grant cannot be stored', async () => {
    const house = await granted('ask')
    house.call('tool')
    const { id } = await asked(house)
    await writeFile(join(house.home, 'loops/aa/host.json'), 'nonsense')
    await expect(house.approve({ approval: id, always: true })).rejects.toMatchObject({ code: 'storage_failed' })
    await house.approve({ approval: id })
    await ran(house)
  })
})

describe('limits', () => {
  it('should have more than so many wait, and keep their order', async () => {
    const house = await granted('allow', { maxSessions: 2 })
    const callers = []
    for (const word of ['1', '2', '3', '4']) {
      callers.push(house.call('tool', word))
      await ran(house, Math.min(callers.length, 2))
    }
    callers[2]?.socket.destroy()
    await until(async () => expect((await house.log()).map(({ event }) => event)).toContain('deny'))
    house.runner.runs[0]?.finish({ code: 0 })
    await ran(house, 3)
    expect(house.runner.runs.map(({ words }) => words[1])).toEqual(['1', '2', '4'])
  })

  it('should count every call that comes too fast', async () => {
    const house = await granted('allow', { maxPerMinute: 5 })
    const callers = Array.from({ length: 30 }, () => house.call('other'))
    expect(await Promise.all(callers.map((caller) => caller.exit()))).toEqual([
      ...Array<number>(5).fill(126),
      ...Array<number>(25).fill(125),
    ])
    house.clock.advance(5_000)
    await turns()
    const entries = await house.log()
    expect(entries.filter(({ event }) => event === 'deny')).toHaveLength(5)
    expect(entries.filter(({ event }) => event === 'limit').map(({ count }) => count)).toEqual([25])
  })

  it('should count those that are too many at the same time', async () => {
    const house = await granted('ask')
    const callers = Array.from({ length: 200 }, () => house.connect())
    await until(() => expect(callers.filter(({ socket }) => socket.destroyed)).toHaveLength(72))
    house.clock.advance(5_000)
    await turns()
    expect((await house.log()).map(({ event, count }) => [event, count])).toEqual([['limit', 72]])
  })
})

describe('a hostile caller', () => {
  it('should not keep others from being served, whatever it does', async () => {
    const house = await granted()
    const whole = requestFrame({ argv: ['tool', 'x'], cwd: '/loopat/work' })
    const forged = [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      frameHeader(CHANNEL.control, 0),
      frameHeader(CHANNEL.control, 0xffffffff),
      encodeFrame(CHANNEL.stdin, Buffer.from('x')),
      encodeFrame(CHANNEL.control, Buffer.from('{"type":"run"}')),
      encodeFrame(CHANNEL.control, Buffer.alloc(1000)),
    ]
    for (const bytes of forged) {
      const caller = house.connect()
      caller.socket.write(bytes)
      expect(await caller.exit()).toBe(125)
    }
    for (let length = 0; length < whole.length; length += 7) {
      for (const leave of ['end', 'destroy'] as const) {
        const caller = house.connect()
        caller.socket.write(whole.subarray(0, length), () => caller.socket[leave]())
        await caller.closed
        expect(caller.started).toBe(false)
      }
    }
    const stalled = house.connect()
    stalled.socket.write(whole.subarray(0, 9))
    await until(async () => {
      const denied = (await house.log()).filter(({ event }) => event === 'deny')
      expect(denied).toHaveLength(forged.length + 2 * Math.ceil(whole.length / 7))
    })
    expect(house.runner.runs).toEqual([])
    house.call('tool', 'honest')
    await ran(house)
    expect(stalled.socket.destroyed).toBe(false)
  })

  it('should be let go when it floods before it is told to', async () => {
    const house = await granted('ask')
    const caller = house.call('tool')
    await asked(house)
    const flood = () => {
      while (!caller.socket.destroyed && caller.socket.write(encodeFrame(CHANNEL.stdin, Buffer.alloc(16_384))));
    }
    caller.socket.on('drain', flood)
    flood()
    await caller.closed
    await until(() => expect(house.told).toEqual(['a asks', 'a gone']))
    const calm = house.call('tool')
    calm.socket.write(encodeFrame(CHANNEL.stdin, Buffer.from('early')))
    await turns(20)
    await house.approve({ approval: (await asked(house)).id })
    await ran(house)
    expect(house.runner.runs[0]?.head).toEqual(encodeFrame(CHANNEL.stdin, Buffer.from('early')))
  })

  it('should be gone when it closes its half while it waits', async () => {
    const house = await granted('ask')
    const caller = house.call('tool')
    await asked(house)
    caller.socket.end()
    await until(() => expect(house.told).toEqual(['a asks', 'a gone']))
    await caller.closed
  })

  it('should be refused when its request does not come', async () => {
    const house = await granted()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const caller = house.connect()
      caller.socket.write(requestFrame({ argv: ['tool'] }).subarray(0, 9))
      await turns(50)
      await vi.advanceTimersByTimeAsync(10_000)
      expect(await caller.exit()).toBe(125)
      expect(caller.text).toContain('not whole after 10 s')
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('the end of the daemon', () => {
  it('should end what runs, and leave the socket for the next', async () => {
    const house = await granted()
    const [caller, half] = [house.call('tool'), house.connect()]
    await ran(house)
    await house.restart()
    expect(await caller.exit()).toBe(143)
    await half.closed
    expect(existsSync(house.socket())).toBe(true)
    const refused = house.call('tool')
    await refused.closed
    expect(refused.code).toBeUndefined()
    await house.up('aa')
    house.call('tool')
    await ran(house)
    const events = (await house.log()).map(({ event }) => event)
    expect(events.slice(0, 2)).toEqual(['start', expect.stringMatching(/end|deny/)])
  })

  it('should leave nothing open that was just being opened', async () => {
    const house = await granted()
    const preparing = [house.service.prepare('bb'), house.service.prepare('aa'), house.grant({ pattern: 'other' })]
    await house.service[Symbol.asyncDispose]()
    await Promise.all(preparing)
    for (const id of ['aa', 'bb']) {
      if (!existsSync(house.socket(id))) continue
      const caller = house.connect(id)
      await caller.closed
      expect(caller.code).toBeUndefined()
    }
  })
})

describe('host/log', () => {
  it('should be followed', async () => {
    const house = await granted()
    await house.call('other').closed
    const { entries, next } = await house.service.log({ limit: 10, waitMs: 0 }, new AbortController().signal)
    expect(entries).toHaveLength(1)
    const following = house.log({ after: next, waitMs: 5_000 })
    await house.call('other', 'x').closed
    expect((await following).map(short)).toEqual([['deny', 'other x', 'no grant matches', 126]])
    expect(await house.log({ loop: 'b' })).toEqual([])
    await expect(house.log({ after: 'x' })).rejects.toMatchObject({ code: 'invalid_params' })
  })
})
