import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseConfig, parseIdleMs, readConfig } from '../../daemon/config.ts'

describe('config.toml', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-config-'))
  })
  afterAll(() => rm(directory, { recursive: true }))

  const refused = (text: string) => {
    try {
      parseConfig(text, '/h/config.toml')
    } catch (error) {
      return error
    }
    throw new Error('was accepted')
  }

  it('should have defaults when there is no file', async () => {
    const config = await readConfig(join(directory, 'none.toml'))
    expect(config).toMatchObject({ daemon: { stop_loops: false, max_message_bytes: 8_388_608 }, repos: [], image: {} })
  })

  it('should accept the shipped template, whole and with every example switched on', async () => {
    const template = await readFile(new URL('../../templates/config.toml', import.meta.url), 'utf8')
    expect(parseConfig(template, 'x')).toEqual(parseConfig('', 'x'))
    const switchedOn = template.replace(/^# (\[\[?[a-z.]+\]\]?|[a-z_]+ = .*)$/gm, '$1')
    expect(parseConfig(switchedOn, 'x').repos).toEqual([{ name: 'app', git: 'https://git.example/team/app.git' }])
    expect(parseConfig(switchedOn, 'x').host.grants).toEqual([
      {
        pattern: 'gh pr view *',
        decision: 'allow',
        full_access: false,
        loop: 'fix-login',
        env: { GH_HOST: 'git.example' },
        pass_env: ['SSH_AUTH_SOCK'],
      },
    ])
    expect(parseConfig(switchedOn, 'x').git.key).toBe(join(homedir(), '.ssh/id_ed25519'))
  })

  it.each([
    ['an unknown table', '[daemon]\n\n[deamon]\nstop_loops = true\n', ':3: unknown key deamon'],
    ['an unknown key', '# x\n[daemon]\nstop_loop = true\n', ':3: unknown key daemon.stop_loop'],
    ['a wrong type', '[daemon]\ndrain_seconds = "10"\n', ':2: daemon.drain_seconds: '],
    ['a dotted key', 'daemon.drain_seconds = -1\n', ':1: daemon.drain_seconds: '],
    [
      'the second of an array',
      '[[repos]]\nname="a"\ngit="b"\n[[repos]]\nname = "x/y"\ngit="c"\n',
      ':5: repos.1.name: ',
    ],
    ['a missing key', '[[repos]]\nname="a"\n', ':1: repos.0.git: '],
    [
      'a name given twice',
      '[[repos]]\nname="a"\ngit="b"\n[[repos]]\nname="a"\ngit="c"\n',
      ':5: repos.1.name: "a" is named twice',
    ],
    ['a mount without a target', '[[mounts]]\nsrc = "/x"\n', ':1: mounts.0.dst: '],
    ['a mount with a mode', '[[mounts]]\nsrc="/x"\ndst="/y"\nmode = "rw"\n', ':4: unknown key mounts.0.mode'],
    ['bad syntax', '[daemon]\nstop_loops = yes\n', ':2: '],
    ['a relative path', '[git]\nkey = "id"\n', ':2: git.key: must be an absolute path'],
    ['a window of nothing', '[idle]\nafter = "0m"\n', ':2: idle.after: must be a length of time'],
    ['a window without a unit', '[idle]\nafter = "10"\n', ':2: idle.after: must be a length of time'],
    ['a window that is a number', '[idle]\nafter = 10\n', ':2: idle.after: '],
    ['a window beyond a year', '[idle]\nafter = "366d"\n', ':2: idle.after: '],
    ['an unknown key of the host', '[host]\nclis = ["gh"]\n', ':2: unknown key host.clis'],
    [
      'a relative directory of programs',
      '[host]\npath = ["/bin", "bin"]\n',
      ':2: host.path.1: must be an absolute path',
    ],
    ['no directory of programs', '[host]\npath = []\n', ':2: host.path: '],
    ['one directory that is no list', '[host]\npath = "/bin"\n', ':2: host.path: '],
    ['approvals that never end', '[host]\napproval = "never"\n', ':2: host.approval: must be a length of time'],
    ['an approval of no time', '[host]\napproval = "0s"\n', ':2: host.approval: must be a length of time'],
    [
      'an approval of days',
      '[host]\napproval = "25h"\n',
      ':2: host.approval: must be a length of time such as 90s, 10m, 2h, 1h30m or 7d, of 1d at most',
    ],
    ['a time that is a number', '[host]\nmax_time = 60\n', ':2: host.max_time: '],
    [
      'a time beyond two weeks',
      '[host]\nmax_time = "15d"\n',
      ':2: host.max_time: must be a length of time such as 90s, 10m, 2h, 1h30m or 7d, of 14d at most',
    ],
    ['a size without a number', '[host]\nmax_output = "much"\n', ':2: host.max_output: must be a size'],
    ['a size of nothing', '[host]\nmax_output = "0"\n', ':2: host.max_output: must be a size'],
    ['a negative size', '[host]\nmax_output = "-4g"\n', ':2: host.max_output: must be a size'],
    ['a size beyond counting', '[host]\nmax_output = "99999t"\n', ':2: host.max_output: must be a size'],
    ['a size that is a number', '[host]\nmax_output = 1000\n', ':2: host.max_output: '],
    ['no sessions', '[host]\nmax_sessions = 0\n', ':2: host.max_sessions: '],
    ['half a command', '[host]\nmax_per_minute = 0.5\n', ':2: host.max_per_minute: '],
    ['a mask of nothing', '[host]\nmask = [" "]\n', ':2: host.mask.0: '],
    ['a grant of nothing', '[[host.grants]]\ndecision = "allow"\n', ':1: host.grants.0.pattern: '],
    ['an empty grant', '[[host.grants]]\npattern = "  "\n', ':2: host.grants.0.pattern: '],
    [
      'a grant of two lines',
      '[[host.grants]]\npattern = "gh\\nx"\n',
      ':2: host.grants.0.pattern: must not contain control',
    ],
    ['another decision', '[[host.grants]]\npattern = "gh"\ndecision = "yes"\n', ':3: host.grants.0.decision: '],
    ['a decision that is none', '[[host.grants]]\npattern = "gh"\ndecision = true\n', ':3: host.grants.0.decision: '],
    [
      'a grant with an unknown key',
      '[[host.grants]]\npattern = "gh"\nfor = "1h"\n',
      ':3: unknown key host.grants.0.for',
    ],
    ['a grant for nobody', '[[host.grants]]\npattern = "gh"\nloop = ""\n', ':3: host.grants.0.loop: '],
    [
      'a name that is no variable',
      '[[host.grants]]\npattern = "gh"\npass_env = ["A=b"]\n',
      ':3: host.grants.0.pass_env.0: ',
    ],
    ['a value that is no text', '[[host.grants]]\npattern = "gh"\nenv = { A = 1 }\n', ':3: host.grants.0.env.A: '],
    [
      'a bad name of a value',
      '[[host.grants]]\npattern = "gh"\nenv = { "A B" = "1" }\n',
      ':3: host.grants.0.env.A B: ',
    ],
    ['an unqualified image', '[image]\nbase = "debian"\n', ':2: image.base: must be a fully qualified'],
  ])('should refuse %s with file, line and key', (_what, text, message) => {
    expect(refused(text)).toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining(`/h/config.toml${message}`),
    })
  })

  it.each([
    ['90s', 90_000],
    ['1h30m', 5_400_000],
    ['never', 'never'],
  ])('should read a window: %s', (text, window) => {
    expect(parseConfig(`[idle]\nafter = "${text}"\n`, 'x').idle.after).toBe(window)
  })

  it('should let nothing run on the host, within limits', () => {
    expect(parseConfig('', 'x').host).toEqual({
      path: ['/usr/local/bin', '/usr/bin', '/bin'],
      approval: 120_000,
      max_time: 3_600_000,
      max_output: 4_294_967_296,
      max_sessions: 8,
      max_per_minute: 1200,
      mask: [],
      grants: [],
    })
  })

  it('should read grants in their order, times and sizes', () => {
    const { host } = parseConfig(
      [
        '[host]',
        'path = ["~/bin", "/opt/tools"]',
        'approval = "1m30s"',
        'max_time = "14d"',
        'max_output = "1.5m"',
        '[[host.grants]]',
        'pattern = " gh pr list "',
        'decision = "deny"',
        '[[host.grants]]',
        'pattern = "gh *"',
        '',
      ].join('\n'),
      'x',
    )
    expect(host).toMatchObject({
      path: [join(homedir(), 'bin'), '/opt/tools'],
      approval: 90_000,
      max_time: 1_209_600_000,
      max_output: 1_572_864,
      grants: [
        { pattern: 'gh pr list', decision: 'deny', full_access: false, env: {}, pass_env: [] },
        { pattern: 'gh *', decision: 'allow' },
      ],
    })
  })

  it('should refuse more grants than may be', () => {
    const many = '[[host.grants]]\npattern = "gh"\n'
    expect(parseConfig(many.repeat(256), 'x').host.grants).toHaveLength(256)
    expect(refused(many.repeat(257))).toMatchObject({ message: expect.stringContaining('host.grants: ') })
  })

  it('should leave a file that it refuses alone', async () => {
    const path = join(directory, 'bad.toml')
    await writeFile(path, 'nonsense')
    await expect(readConfig(path)).rejects.toMatchObject({ code: 'config_invalid' })
    expect(await readFile(path, 'utf8')).toBe('nonsense')
  })
})

describe('LOOPAT_CONTAINER_IDLE_MS', () => {
  it('should be milliseconds', () => {
    expect([undefined, '', '1500'].map(parseIdleMs)).toEqual([undefined, undefined, 1500])
  })

  it.each(['0', '-5', '10x', '1.5', 'never', '99', '1e5', '99999999999999'])('should be refused: %s', (text) => {
    expect(() => parseIdleMs(text)).toThrow(`LOOPAT_CONTAINER_IDLE_MS must be 100 to 31536000000 milliseconds`)
  })
})
