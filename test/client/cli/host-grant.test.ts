import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LoopatError } from '../../../protocol/error.ts'
import { grantInfo } from './grant.ts'
import { TestHost } from './host.ts'
import { type StubDaemon, startStub } from './stub-daemon.ts'

let stub: StubDaemon

beforeEach(async () => {
  stub = await startStub()
  stub.on('host/grant', () => ({ grant: grantInfo() }))
})
afterEach(() => stub[Symbol.asyncDispose]())

const run = (...words: string[]) => new TestHost({ socket: stub.socket }).run('host', ...words)
const sent = () => stub.calls.filter(({ method }) => method !== 'initialize').map(({ params }) => params)

describe('loopctl host grant', () => {
  it('should grant a loop a command, and say what that is on the host', async () => {
    expect(await run('grant', 'fix-login', 'gh pr view *')).toEqual({
      code: 0,
      stdout: '0123abcd  allow: gh pr view * (/usr/bin/gh)\n',
      stderr: '',
    })
    expect(sent()).toEqual([{ loop: 'fix-login', pattern: 'gh pr view *', decision: 'allow' }])
    expect(JSON.parse((await run('grant', 'fix-login', 'gh pr view *', '--json')).stdout)).toEqual(grantInfo())
  })

  it('should grant all loops a command', async () => {
    await run('grant', '--all-loops', 'gh pr view *')
    await run('grant', 'gh', '--all-loops')
    expect(sent()).toEqual([
      { pattern: 'gh pr view *', decision: 'allow' },
      { pattern: 'gh', decision: 'allow' },
    ])
  })

  it.each(['allow', 'ask', 'deny'])('should take the decision --%s', async (decision) => {
    await run('grant', 'x', `--${decision}`, 'gh')
    expect(sent()).toEqual([{ loop: 'x', pattern: 'gh', decision }])
  })

  it('should pass on everything that the command may have', async () => {
    const words = ['--for', '1h30m', '--env', 'A=b=c', '--pass-env', 'SSH_AUTH_SOCK', '--env', 'E=', '--pass-env', 'TZ']
    await run('grant', ...words, '--full-access', 'x', 'git fetch')
    expect(sent()).toEqual([
      {
        loop: 'x',
        pattern: 'git fetch',
        decision: 'allow',
        forMs: 5_400_000,
        env: { A: 'b=c', E: '' },
        passEnv: ['SSH_AUTH_SOCK', 'TZ'],
        fullAccess: true,
      },
    ])
  })

  it('should warn of full access, also beside JSON, and not when it is denied', async () => {
    const grant = grantInfo({ program: '/usr/bin/git', fullAccess: true, expiresAt: '2026-01-02T04:00:00.000Z' })
    stub.on('host/grant', () => ({ grant }))
    const warning = 'Warning: /usr/bin/git can run anything, so this amounts to full access to the host.\n'
    expect(await run('grant', 'x', 'git *', '--full-access', '--for', '1h')).toEqual({
      code: 0,
      stdout: '0123abcd  allow: gh pr view * (/usr/bin/git, until 2026-01-02T04:00:00.000Z)\n',
      stderr: warning,
    })
    const asJson = await run('grant', 'x', 'git *', '--full-access', '--json')
    expect({ stderr: asJson.stderr, grant: JSON.parse(asJson.stdout) }).toEqual({ stderr: warning, grant })
    stub.on('host/grant', () => ({ grant: { ...grant, decision: 'deny', program: null, expiresAt: null } }))
    expect(await run('grant', 'x', 'git *', '--deny')).toEqual({
      code: 0,
      stdout: '0123abcd  deny: gh pr view *\n',
      stderr: '',
    })
  })

  it('should say why a grant lets nothing run, and obey nothing in what it prints', async () => {
    stub.on('host/grant', () => ({ grant: grantInfo({ program: '/bin/a\x1b[2J', fault: 'gone\nid: x' }) }))
    const { stdout, stderr } = await run('grant', 'x', 'a')
    expect(stdout).toBe('0123abcd  allow: gh pr view * (/bin/a\\x1b[2J)\n')
    expect(stderr).toBe('0123abcd lets nothing run: gone\\x0aid: x\n')
  })

  it('should say what the daemon refuses, with its exit code', async () => {
    stub.on('host/grant', () => {
      throw new LoopatError('full_access_needed', '/bin/sh can run anything', { next: 'Give --full-access.' })
    })
    expect(await run('grant', 'x', 'sh')).toEqual({
      code: 2,
      stdout: '',
      stderr: 'loopctl: /bin/sh can run anything\n  → Give --full-access.\n',
    })
    stub.on('host/grant', () => {
      throw new LoopatError('host_command_not_found', 'the host has no "gx"')
    })
    expect((await run('grant', 'x', 'gx')).code).toBe(3)
  })

  it.each([
    [['grant'], 'name a loop, or give --all-loops, and a pattern'],
    [['grant', 'gh pr view *'], 'name a loop, or give --all-loops, and a pattern'],
    [['grant', '--all-loops'], 'a pattern is missing'],
    [['grant', 'x', 'gh', 'pr', 'view'], "Quote it: loopctl host grant x 'gh pr view *'"],
    [['grant', 'x', 'gh', '--web'], "Quote it: loopctl host grant x 'gh pr view *'"],
    [['grant', 'x', 'gh', 'pr', '--json', 'title'], "Quote it: loopctl host grant x 'gh pr view *'"],
    [['grant', '--all-loops', 'gh', 'pr'], "Quote it: loopctl host grant --all-loops 'gh pr view *'"],
    [['grant', '--all-loops', 'x', 'gh pr'], 'no loop is named with --all-loops'],
    [['grant', '--web', 'x', 'gh'], "unknown option '--web'"],
    [['grant', 'x', '--web', 'gh'], "unknown option '--web'"],
    [['grant', 'x', 'gh pr', '--web'], "unknown option '--web'"],
    [['grant', '--all-loops', '--web'], "unknown option '--web'"],
    [['grant', 'x', ''], 'the pattern is empty'],
    [['grant', 'x', '  '], 'the pattern is empty'],
    [['grant', 'x', 'gh\npr'], 'must not contain control characters'],
    [['grant', 'x', 'gh \x1b[2J'], 'must not contain control characters'],
    [['grant', '--allow', '--ask', 'x', 'gh'], 'cannot be used with'],
    [['grant', '--allow', '--deny', 'x', 'gh'], 'cannot be used with'],
    [['grant', '--ask', '--deny', 'x', 'gh'], 'cannot be used with'],
    [['grant', '--deny', '--env', 'A=b', 'x', 'gh'], 'cannot be used with'],
    [['grant', '--deny', '--pass-env', 'A', 'x', 'gh'], 'cannot be used with'],
    [['grant', '--deny', '--full-access', 'x', 'gh'], 'cannot be used with'],
    [['grant', '--for', '0', 'x', 'gh'], 'must be a length of time'],
    [['grant', '--for', '0s', 'x', 'gh'], 'must be a length of time'],
    [['grant', '--for', '-5m', 'x', 'gh'], 'must be a length of time'],
    [['grant', '--for', '10', 'x', 'gh'], 'must be a length of time'],
    [['grant', '--for', 'never', 'x', 'gh'], 'must be a length of time'],
    [['grant', '--for'], 'argument missing'],
    [['grant', '--env', 'A', 'x', 'gh'], 'must be NAME=VALUE'],
    [['grant', '--env', '1=2', 'x', 'gh'], 'must be NAME=VALUE'],
    [['grant', '--pass-env', 'A=b', 'x', 'gh'], 'must be a name'],
    [['grant', '--pass-env', '', 'x', 'gh'], 'must be a name'],
  ])('should refuse %j', async (words, reason) => {
    const { code, stdout, stderr } = await run(...words)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(reason)
    expect(stderr).toContain('loopctl host')
    expect(stderr).not.toContain('\x1b')
    expect(sent()).toEqual([])
  })
})

describe('loopctl host revoke', () => {
  beforeEach(() => {
    stub.on('host/revoke', ({ grant }) => ({ revoked: grant === 'gh *' ? [] : [grantInfo(), grantInfo({ id: 'f' })] }))
  })

  it('should take grants back by id and by pattern, each once', async () => {
    const { code, stdout, stderr } = await run('revoke', 'x', '0123abcd', 'gh *', '0123abcd')
    expect({ code, stderr }).toEqual({ code: 0, stderr: 'There is no grant to take back.\n' })
    expect(stdout).toBe('0123abcd  allow: gh pr view * (/usr/bin/gh)\nf  allow: gh pr view * (/usr/bin/gh)\n')
    expect(sent()).toEqual([
      { loop: 'x', grant: '0123abcd' },
      { loop: 'x', grant: 'gh *' },
    ])
  })

  it('should take back all of a loop, those for all loops, and one of those', async () => {
    await run('revoke', 'x', '--all')
    await run('revoke', '--all-loops', '--all')
    await run('revoke', '--all-loops', 'gh pr view *')
    expect(sent()).toEqual([{ loop: 'x' }, {}, { grant: 'gh pr view *' }])
  })

  it('should say what is not there', async () => {
    stub.on('host/revoke', ({ grant }) => {
      if (grant === 'no') throw new LoopatError('grant_not_found', 'there is no grant "no"')
      return { revoked: [grantInfo()] }
    })
    const { code, stdout, stderr } = await run('revoke', 'x', '0123abcd', 'no', 'later')
    expect({ code, stderr }).toEqual({ code: 3, stderr: 'loopctl: there is no grant "no"\n' })
    expect(stdout).toBe('0123abcd  allow: gh pr view * (/usr/bin/gh)\n')
    expect(sent()).toHaveLength(2)
  })

  it.each([
    [['revoke'], 'name a loop, or give --all-loops'],
    [['revoke', '--all'], 'name a loop, or give --all-loops'],
    [['revoke', 'x'], 'name a grant, or give --all'],
    [['revoke', '--all-loops'], 'name a grant, or give --all'],
    [['revoke', 'x', '0123abcd', '--all'], '--all goes without grants'],
    [['revoke', '--all-loops', '0123abcd', '--all'], '--all goes without grants'],
    [['revoke', 'x', '--json'], "unknown option '--json'"],
  ])('should refuse %j', async (words, reason) => {
    const { code, stdout, stderr } = await run(...words)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(reason)
    expect(sent()).toEqual([])
  })
})
