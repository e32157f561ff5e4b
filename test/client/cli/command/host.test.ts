import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LoopatError } from '../../../../protocol/error.ts'
import { approvalInfo, grantInfo } from '../grant.ts'
import { TestHost } from '../host.ts'
import { loopInfo } from '../loop.ts'
import { type StubDaemon, startStub } from '../stub-daemon.ts'

let stub: StubDaemon

beforeEach(async () => {
  stub = await startStub()
  stub.on('loop/list', () => ({ loops: [loopInfo()] }))
})
afterEach(() => stub[Symbol.asyncDispose]())

const run = (...words: string[]) => new TestHost({ socket: stub.socket }).run('host', ...words)
const sent = (method: string) => stub.calls.filter((call) => call.method === method).map(({ params }) => params)

describe('loopctl host ls', () => {
  const grants = [
    grantInfo({ expiresAt: '2026-01-02T04:03:05.000Z' }),
    grantInfo({
      id: '11111111',
      loop: null,
      origin: 'workspace',
      pattern: 'git *',
      program: '/bin/git',
      fullAccess: true,
    }),
    grantInfo({ id: '22222222', loop: null, origin: 'workspace', pattern: 'sh *', decision: 'deny', program: null }),
    grantInfo({ id: '33333333', loop: null, origin: 'config', pattern: 'adb *', decision: 'ask', fault: 'not there' }),
    grantInfo({ id: '44444444', loop: 'gone', origin: 'config', pattern: '"my tool"\x1b' }),
  ]

  it('should list grants in their order', async () => {
    stub.on('host/list', () => ({ grants, declared: [], faults: [] }))
    const { code, stdout, stderr } = await run('ls')
    expect(stdout.split('\n')).toEqual([
      'ID        FOR                  DECISION  PROGRAM      ACCESS  EXPIRES  PATTERN',
      '0123abcd  fix-login            allow     /usr/bin/gh  -       59m      gh pr view *',
      '11111111  every loop           allow     /bin/git     full    never    git *',
      '22222222  every loop           deny      -            -       never    sh *',
      '33333333  every loop (config)  ask       /usr/bin/gh  none    never    adb *',
      '44444444  gone (config)        allow     /usr/bin/gh  -       never    "my tool"\\x1b',
      '',
    ])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '33333333 lets nothing run: not there\n' })
    expect(sent('host/list')).toEqual([{}])
  })

  it('should print all of it as JSON, without notes', async () => {
    const answer = { grants, declared: ['gh'], faults: [{ file: '/f', message: 'bad' }] }
    stub.on('host/list', () => answer)
    const { stdout, stderr } = await run('ls', 'fix-login', '--json')
    expect({ answer: JSON.parse(stdout), stderr }).toEqual({ answer, stderr: '' })
    expect(sent('host/list')).toEqual([{ loop: 'fix-login' }])
  })

  it('should say how to begin, and which file is wrong', async () => {
    stub.on('host/list', () => ({ grants: [], declared: [], faults: [{ file: '/f\x1b', message: 'bad\nworse' }] }))
    expect(await run('ls')).toEqual({
      code: 0,
      stdout: '',
      stderr: [
        "No grants: nothing may run on the host. Give one with: loopctl host grant LOOP 'COMMAND *'",
        '/f\\x1b: bad\\x0aworse (what it said before stays in force)',
        '',
      ].join('\n'),
    })
  })

  it('should tell which names are asked for and not granted, and trust none of them', async () => {
    const declared = ['gh', 'adb', 'my', "x'; rm -rf ~; '", 'a\x1b', '../x', 'flash', 'adb', '']
    const granted = [grantInfo({ pattern: "'/opt/bin/gh' *" }), grantInfo({ pattern: 'my', decision: 'deny' })]
    stub.on('host/list', () => ({ grants: granted, declared, faults: [] }))
    const { stderr } = await run('ls', 'fix-login')
    const command = "loopctl host grant fix-login 'adb *'"
    expect(stderr).toBe(`mise.toml of fix-login asks for adb, flash. If that is what you want: ${command}\n`)
    const many = Array.from({ length: 25 }, (_, at) => `n${at}`)
    stub.on('host/list', () => ({ grants: granted, declared: many, faults: [] }))
    expect((await run('ls', 'fix-login')).stderr).toContain('n18, n19 and 5 more names. If')
    stub.on('host/list', () => ({ grants: granted, declared: ['gh', 'my'], faults: [] }))
    expect((await run('ls', 'fix-login')).stderr).toBe('')
  })
})

describe('loopctl host pending', () => {
  it('should show exactly what waits, a line for each fact', async () => {
    const full = approvalInfo({
      id: '11111111',
      command: 'git \x1b[2J',
      cwd: '/w\nloop  other',
      fullAccess: true,
      expiresAt: '2026-01-02T03:00:00.000Z',
    })
    stub.on('host/pending', () => ({ approvals: [approvalInfo(), full] }))
    const { code, stdout, stderr } = await run('pending')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n')).toEqual([
      'id        4567cdef',
      'loop      fix-login',
      'left      1m',
      "command   gh pr create --title 'a b'",
      'program   /usr/bin/gh',
      'in        /home/me/.loopat/loops/1/workdir',
      'asked by  gh pr create *',
      '',
      'id        11111111',
      'loop      fix-login',
      'left      0s',
      'command   git \\x1b[2J',
      'program   /usr/bin/gh',
      'in        /w\\x0aloop  other',
      'asked by  gh pr create *',
      'access    full access to the host',
      '',
    ])
    expect(sent('host/pending')).toEqual([{}])
  })

  it('should take a loop, print JSON, and say that there is nothing', async () => {
    stub.on('host/pending', ({ loop }) => ({ approvals: loop === 'a' ? [approvalInfo()] : [] }))
    expect(JSON.parse((await run('pending', 'a', '--json')).stdout)).toEqual([approvalInfo()])
    expect(JSON.parse((await run('pending', 'b', '--json')).stdout)).toEqual([])
    expect(await run('pending', 'b')).toEqual({ code: 0, stdout: '', stderr: 'Nothing waits for an approval.\n' })
    stub.on('host/pending', () => {
      throw new LoopatError('loop_not_found', 'there is no loop "c"')
    })
    expect((await run('pending', 'c')).code).toBe(3)
  })
})

describe.each([
  ['approve', 'approved'],
  ['deny', 'denied'],
])('loopctl host %s', (verb, done) => {
  it('should answer once', async () => {
    stub.on(`host/${verb}`, () => ({ approval: approvalInfo({ command: 'gh \x1b[2J' }), grant: null }))
    expect(await run(verb, '4567cdef')).toEqual({
      code: 0,
      stdout: `4567cdef  ${done} for fix-login: gh \\x1b[2J\n`,
      stderr: '',
    })
    expect(sent(`host/${verb}`)).toEqual([{ approval: '4567cdef' }])
  })

  it('should answer for always', async () => {
    const grant = grantInfo({ pattern: "gh 'a b'", fullAccess: true })
    stub.on(`host/${verb}`, () => ({ approval: approvalInfo(), grant }))
    const { code, stdout, stderr } = await run(verb, '--always', '4567cdef')
    expect(code).toBe(0)
    expect(stdout.split('\n')).toEqual([
      `4567cdef  ${done} for fix-login: gh pr create --title 'a b'`,
      "0123abcd  allow: gh 'a b' (/usr/bin/gh)",
      '',
    ])
    expect(stderr).toContain('Warning: /usr/bin/gh can run anything')
    expect(sent(`host/${verb}`)).toEqual([{ approval: '4567cdef', always: true }])
    const asJson = await run(verb, '4567cdef', '--always', '--json')
    expect(JSON.parse(asJson.stdout)).toEqual({ approval: approvalInfo(), grant })
  })

  it('should say that nothing waits under that id', async () => {
    stub.on(`host/${verb}`, () => {
      throw new LoopatError('approval_not_found', 'nothing waits as 4567cdef', { next: 'Run: loopctl host pending' })
    })
    expect(await run(verb, '4567cdef')).toEqual({
      code: 3,
      stdout: '',
      stderr: 'loopctl: nothing waits as 4567cdef\n  → Run: loopctl host pending\n',
    })
  })

  it.each([[[]], [['a', 'b']], [['--for', '1h', 'a']]])('should refuse %j', async (words) => {
    expect((await run(verb, ...words)).code).toBe(2)
    expect(stub.calls).toEqual([])
  })
})

describe('loopctl host', () => {
  it.each([
    [[], 'host: a command is missing'],
    [['nonsense'], "unknown command 'nonsense'"],
    [['ls', 'a', 'b'], 'too many arguments'],
    [['pending', 'a', 'b'], 'too many arguments'],
  ])('should refuse %j', async (words, reason) => {
    const { code, stderr } = await run(...words)
    expect(code).toBe(2)
    expect(stderr).toContain(reason)
    expect(stub.calls).toEqual([])
  })

  it('should explain patterns where they are given', async () => {
    const { code, stdout } = await run('grant', '--help')
    expect(code).toBe(0)
    expect(stdout).toContain('Usage: loopctl host grant [options] [loop] <pattern>')
    expect(stdout).toContain("loopctl host grant fix-login 'gh pr view *'")
  })
})
