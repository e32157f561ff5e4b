import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LoopatError } from '../../../../protocol/error.ts'
import { type HostOptions, TestHost } from '../host.ts'
import { loopInfo } from '../loop.ts'
import { type StubDaemon, startStub } from '../stub-daemon.ts'

let stub: StubDaemon

beforeEach(async () => {
  stub = await startStub()
})
afterEach(() => stub[Symbol.asyncDispose]())

function loopctl(...argv: string[]) {
  return new TestHost({ socket: stub.socket }).run(...argv)
}

function withTerminal(options: HostOptions = {}) {
  return new TestHost({ socket: stub.socket, tty: { stdout: true }, ...options })
}

/** Params of the calls after the handshake. */
function asked() {
  return stub.calls.filter(({ method }) => method !== 'initialize')
}

describe('loopctl create', () => {
  beforeEach(() => stub.on('loop/create', () => ({ loop: loopInfo() })))

  it('should print the name for scripts and the rest for people', async () => {
    const { code, stdout, stderr } = await loopctl('create', 'Fix', 'login')
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'fix-login\n' })
    expect(stderr).toContain('loopctl shell fix-login')
    expect(asked()).toEqual([
      { method: 'loop/create', params: { title: 'Fix login', start: true, progressToken: expect.anything() } },
    ])
  })

  it('should pass its options on', async () => {
    await loopctl('create', '--title', 'T', '--name', 'n', '--repo', 'x', '--ref', 'r', '--image', 'i', '--no-start')
    expect(asked()[0]?.params).toMatchObject({
      ...{ title: 'T', name: 'n', image: 'i', start: false },
      repo: { source: 'x', ref: 'r' },
    })
  })

  it.each([
    ['.', '/here'],
    ['..', '/'],
    ['./a', '/here/a'],
    ['a/b', '/here/a/b'],
    ['a/b:c', '/here/a/b:c'],
    ['/a', '/a'],
    ['roster-name', 'roster-name'],
    ['https://host/a.git', 'https://host/a.git'],
    ['ssh://git@host/a', 'ssh://git@host/a'],
    ['git@host:a/b.git', 'git@host:a/b.git'],
  ])('should make relative paths absolute and nothing else: %s is %s', async (source, absolute) => {
    await loopctl('create', '--repo', source)
    expect(asked()[0]?.params).toMatchObject({ repo: { source: absolute } })
  })

  it.each([
    [['create', 'a', '--title', 'b'], 'twice'],
    [['create', '--ref', 'b'], '--repo'],
  ])('should refuse options that do not go together: %j', async (argv, word) => {
    const { code, stderr } = await loopctl(...argv)
    expect(code).toBe(2)
    expect(stderr).toContain(word)
    expect(asked()).toEqual([])
  })

  it('should print the loop as JSON', async () => {
    expect(JSON.parse((await loopctl('create', '--json')).stdout)).toEqual(loopInfo())
  })
})

describe('loopctl ls', () => {
  const loops = [
    loopInfo(),
    loopInfo({
      name: 'other',
      id: '99999999-2222-4333-8444-555555555555',
      state: 'stopped',
      branch: null,
      title: 'x\x1b[2J',
    }),
    loopInfo({
      id: '11111112-2222-4333-8444-555555555555',
      name: 'bad',
      state: 'broken',
      createdAt: null,
      title: '',
      reason: 'meta.json is no JSON',
    }),
  ]
  const idle = {
    leases: 0,
    after: { window: 1_800_000, from: 'default' },
    next: { action: 'sleep', at: '2026-01-02T03:16:05.000Z' },
  }
  beforeEach(() => {
    stub.on('loop/list', () => ({ loops }))
    stub.on('idle/list', () => ({ loops: [{ id: loopInfo().id, ...idle }] }))
  })

  it('should be a table that loop data cannot break', async () => {
    const { stdout } = await loopctl('ls')
    expect(stdout).toBe(
      [
        'NAME       STATE    ID        AGE  IDLE           BRANCH                 TITLE',
        'fix-login  running  11111111  2h   sleeps in 12m  loop/fix-login-111111  Fix login',
        'other      stopped  99999999  2h   -              -                      x\\x1b[2J',
        'bad        broken   11111112  -    -              loop/fix-login-111111   (meta.json is no JSON)',
        '',
      ].join('\n'),
    )
  })

  it('should be an array with --json', async () => {
    const [first, ...others] = loops.map((loop) => ({ ...loop, idle: null as object | null }))
    expect(JSON.parse((await loopctl('ls', '--json')).stdout)).toEqual([{ ...first, idle }, ...others])
  })

  it.each([
    [{ leases: 1, next: { action: 'stay-awake', at: null } }, '1 lease'],
    [{ leases: 3, next: { action: 'stay-awake', at: null } }, '3 leases'],
    [{ leases: 0, next: { action: 'stay-awake', at: null } }, 'never'],
    [{ leases: 0, next: { action: 'sleep', at: '2026-01-02T03:00:00.000Z' } }, 'sleeps in 0s'],
    [{ leases: 1, next: { action: 'asleep', at: null } }, '-'],
  ])('should say when a loop sleeps: %j', async (over, text) => {
    stub.on('idle/list', () => ({ loops: [{ id: loopInfo().id, ...idle, ...over }] }))
    expect((await loopctl('ls')).stdout).toMatch(new RegExp(`^fix-login +running +11111111 +2h +${text} +loop/`, 'm'))
  })

  it('should have colour on a terminal only, and not with NO_COLOR', async () => {
    expect((await withTerminal().run('ls')).stdout).toContain('\x1b[32mrunning')
    expect((await withTerminal({ env: { NO_COLOR: '1' } }).run('ls')).stdout).not.toContain('\x1b[')
  })

  it.each([
    [['ls'], 'exclude'],
    [['ls', '-a'], 'include'],
    [['ls', '--all'], 'include'],
    [['ls', '--archived'], 'only'],
  ])('should ask for the right loops: %j', async (argv, archived) => {
    await loopctl(...argv)
    expect(asked()).toContainEqual({ method: 'loop/list', params: { archived } })
  })

  it('should leave stdout empty when there is no loop', async () => {
    stub.on('loop/list', () => ({ loops: [] }))
    expect(await loopctl('ls')).toMatchObject({
      code: 0,
      stdout: '',
      stderr: expect.stringContaining('loopctl create'),
    })
    expect((await loopctl('ls', '--json')).stdout).toBe('[]\n')
  })

  it('should refuse --all with --archived', async () => {
    expect((await loopctl('ls', '--all', '--archived')).code).toBe(2)
  })
})

describe('loopctl show', () => {
  const details = {
    loop: loopInfo(),
    container: { name: 'loopat-x', id: 'abc' },
    recreation: {
      due: 'the vault changed from default to work',
      last: { at: '2026-01-02T01:04:05.000Z', reason: 'its image changed' },
    },
    leases: [{ id: 'l', owner: 'exec', reason: 'sleep 9', since: '2026-01-02T01:04:05.000Z' }],
    paths: { directory: '/d', workdir: '/d/workdir', home: '/d/home' },
    metadata: null,
  }
  beforeEach(() => stub.on('loop/get', () => details))

  it('should have id, name, state and address at the top of its JSON', async () => {
    const { loop, ...rest } = details
    expect(JSON.parse((await loopctl('show', 'fix', '--json')).stdout)).toEqual({ ...loop, ...rest })
    expect(asked()[0]?.params).toEqual({ loop: 'fix' })
  })

  it('should leave out for people what there is not', async () => {
    const { stdout } = await loopctl('show', 'fix')
    expect(stdout).toContain('address     10.89.0.2\n')
    expect(stdout).toContain('in use by   exec: sleep 9\n')
    expect(stdout).not.toContain('repository')
  })

  it('should say why the container was made anew, and why it will be', async () => {
    const { stdout } = await loopctl('show', 'fix')
    expect(stdout).toMatch(/^made anew {3}2026-01-02T01:04:05.000Z \(.* ago\): its image changed$/m)
    expect(stdout).toContain('next start  makes the container anew: the vault changed from default to work\n')
    stub.on('loop/get', () => ({ ...details, recreation: { due: null, last: null } }))
    expect((await loopctl('show', 'fix')).stdout).not.toMatch(/made anew|next start/)
  })

  it.each([
    ['loop_not_found', 3],
    ['ambiguous_loop', 2],
  ] as const)('should say %s with exit code %i', async (name, code) => {
    stub.on('loop/get', () => {
      throw new LoopatError(name, 'what is wrong', { next: 'Run: loopctl ls' })
    })
    expect(await loopctl('show', 'x')).toEqual({
      code,
      stdout: '',
      stderr: 'loopctl: what is wrong\n  → Run: loopctl ls\n',
    })
  })
})

describe('loopctl start, restart, archive, unarchive and stop', () => {
  beforeEach(() => {
    for (const verb of ['start', 'restart', 'archive', 'unarchive', 'stop']) {
      stub.on(`loop/${verb}`, ({ loop }) => {
        if (loop === 'missing') throw new LoopatError('loop_not_found', 'there is no loop "missing"')
        return { loop: loopInfo({ name: String(loop) }), action: 'recreated', reason: 'its image changed' }
      })
    }
  })

  it.each(['start', 'restart', 'archive', 'unarchive', 'stop'])('should %s several loops, each once', async (verb) => {
    const { code, stdout } = await loopctl(verb, 'a', 'b', 'a')
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'a\nb\n' })
    expect(asked().map(({ method }) => method)).toEqual([`loop/${verb}`, `loop/${verb}`])
    const json: unknown = JSON.parse((await loopctl(verb, 'a', '--json')).stdout)
    expect(json).toMatchObject([{ name: 'a', state: 'running' }])
  })

  it('should go on after a failure and exit with its code', async () => {
    expect(await loopctl('stop', 'a', 'missing', 'b')).toEqual({
      code: 3,
      stdout: 'a\nb\n',
      stderr: 'loopctl: there is no loop "missing"\n',
    })
  })

  it('should say why a container was made anew', async () => {
    expect((await loopctl('start', 'a')).stderr).toContain('because its image changed')
  })

  it('should stop every loop that runs, with the grace that was asked for', async () => {
    const states = ['running', 'stopped', 'starting', 'created'] as const
    stub.on('loop/list', () => ({ loops: states.map((state) => loopInfo({ id: state, state })) }))
    expect((await loopctl('stop', '--all', '--grace', '0')).code).toBe(0)
    const stopped = asked().filter(({ method }) => method === 'loop/stop')
    expect(stopped.map(({ params }) => params)).toEqual([
      { loop: 'running', graceSeconds: 0 },
      { loop: 'starting', graceSeconds: 0 },
    ])
  })

  it.each([
    [['stop']],
    [['stop', '--all', 'a']],
    [['stop', 'a', '--grace', '-1']],
    [['stop', 'a', '--grace', '601']],
    [['stop', 'a', '--grace', 'soon']],
    [['start']],
  ])('should refuse %j as bad usage', async (argv) => {
    expect((await loopctl(...argv)).code).toBe(2)
    expect(asked()).toEqual([])
  })

  it('should keep a hundred requests within the limit of requests in flight', async () => {
    let inFlight = 0
    let most = 0
    stub.on('loop/start', async ({ loop }) => {
      inFlight += 1
      most = Math.max(most, inFlight)
      await new Promise((resolve) => setTimeout(resolve, 1))
      inFlight -= 1
      return { loop: loopInfo({ name: String(loop) }), action: 'none', reason: null }
    })
    const names = Array.from({ length: 100 }, (_, n) => `l${n}`)
    expect((await loopctl('start', ...names)).stdout).toBe(`${names.join('\n')}\n`)
    expect(most).toBe(8)
  })
})

describe('loopctl rename', () => {
  beforeEach(() => stub.on('loop/rename', () => ({ loop: loopInfo({ name: 'new' }) })))

  it('should change the name, the title or both', async () => {
    expect((await loopctl('rename', 'old', 'new')).stdout).toBe('new\n')
    await loopctl('rename', 'old', '--title', '')
    expect(asked().map(({ params }) => params)).toEqual([
      { loop: 'old', name: 'new' },
      { loop: 'old', title: '' },
    ])
  })

  it('should need one of them', async () => {
    expect((await loopctl('rename', 'old')).code).toBe(2)
  })
})

describe('loopctl rm', () => {
  beforeEach(() => stub.on('loop/remove', ({ loop }) => ({ id: `id-${loop}`, removed: loop !== 'gone' })))

  it('should print what was removed and say what was gone', async () => {
    const { code, stdout, stderr } = await loopctl('rm', 'a', 'gone', '-f', '--keep-branch')
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'a\n', stderr: 'gone was removed before\n' })
    expect(asked()[0]?.params).toMatchObject({ loop: 'a', force: true, keepBranch: true })
  })

  it('should remove every archived loop when asked to', async () => {
    stub.on('loop/list', ({ archived }) => ({ loops: archived === 'only' ? [loopInfo({ id: 'x' })] : [] }))
    expect(JSON.parse((await loopctl('rm', '--all-archived', '--json')).stdout)).toEqual([
      { id: 'id-x', removed: true },
    ])
  })

  it('should not take loops and --all-archived together, nor neither', async () => {
    expect((await loopctl('rm', '--all-archived', 'a')).code).toBe(2)
    expect((await loopctl('rm')).code).toBe(2)
  })
})

describe('loopctl create, for the container', () => {
  beforeEach(() => stub.on('loop/create', () => ({ loop: loopInfo() })))

  it('should pass on what shapes the container', async () => {
    const options =
      '--mount /data:/mnt/data --mount ~/x:~/y:rw --mount notes:/notes:ro --dns 192.0.2.1 --dns ::1 --memory 1.5g ' +
      '--cpus 0.5 --pids 100 --persistence ephemeral --knowledge-rw --mount-all-loops'
    expect(await loopctl('create', ...options.split(' '))).toMatchObject({ code: 0 })
    expect(asked().at(-1)?.params).toMatchObject({
      mounts: [
        { source: '/data', target: '/mnt/data', readOnly: true },
        { source: '~/x', target: '~/y', readOnly: false },
        { source: expect.stringMatching(/^\/.*notes$/), target: '/notes', readOnly: true },
      ],
      dns: ['192.0.2.1', '::1'],
      limits: { memoryBytes: 1_610_612_736, cpus: 0.5, pids: 100 },
      persistence: 'ephemeral',
      knowledgeRw: true,
      mountAllLoops: true,
    })
  })

  it('should pass nothing on that was not said', async () => {
    await loopctl('create')
    expect(asked().at(-1)?.params).toEqual({ start: true, progressToken: 1 })
  })

  it('should let the daemon judge a source with dots', async () => {
    await loopctl('create', '--mount', '../x:/x')
    expect(asked().at(-1)?.params).toMatchObject({ mounts: [{ source: '../x' }] })
  })

  it.each([
    ['--mount', '/data'],
    ['--mount', ':/data'],
    ['--mount', '/data:/x:rx'],
    ['--mount', '/data:/x:rw:z'],
    ['--memory', 'much'],
    ['--memory', '-1'],
    ['--cpus', 'all'],
    ['--pids', ''],
    ['--persistence', 'maybe'],
  ])('should refuse %s %j', async (option, value) => {
    const { code, stderr } = await loopctl('create', option, value)
    expect(code).toBe(2)
    expect(stderr).toContain(option)
  })
})

describe('loopctl inspect', () => {
  const inspected = {
    id: loopInfo().id,
    name: 'fix',
    image: { wanted: null, id: 'a'.repeat(64), used: 'b'.repeat(64) },
    user: 'ada',
    vault: 'work',
    mounts: [
      { source: '/h/home-upper', target: '/home/loopat', origin: 'built-in', readOnly: false, row: 1 },
      { source: '/data', target: '/mnt/data', origin: 'loop', readOnly: true, row: 12 },
    ],
    skipped: [{ source: '/gone', target: '/gone', origin: 'operator', why: '/gone does not exist' }],
    env: [
      { name: 'HOME', origin: 'built-in' },
      { name: 'TOKEN', origin: 'vault' },
    ],
    dns: ['192.0.2.1'],
    limits: { memoryBytes: 536_870_912, pids: 100 },
    persistence: 'persistent',
    knowledgeRw: false,
    mountAllLoops: false,
    network: 'loopat-x',
    hash: { wanted: 'b'.repeat(16), used: 'a'.repeat(16), inputs: { mounts: [] } },
    drift: 'its image changed',
  }
  beforeEach(() => stub.on('loop/inspect', () => inspected))

  it('should print for programs what it was told', async () => {
    expect(JSON.parse((await loopctl('inspect', 'fix', '--json')).stdout)).toEqual(inspected)
    expect(asked()[0]?.params).toEqual({ loop: 'fix' })
  })

  it('should print mounts with where they come from, and those left out', async () => {
    const { stdout } = await loopctl('inspect', 'fix')
    expect(stdout).toMatch(/^\/home\/loopat +rw +built-in +\/h\/home-upper$/m)
    expect(stdout).toMatch(/^\/mnt\/data +ro +loop +\/data$/m)
    expect(stdout).toMatch(/^\/gone +- +operator +left out: \/gone does not exist$/m)
    expect(stdout).toMatch(/^variables +HOME \(built-in\), TOKEN \(vault\)$/m)
    expect(stdout).toMatch(/^limits +memory 512.0 MiB, processes 100$/m)
    expect(stdout).toMatch(/^hash +b{16} \(made with a{16}\)$/m)
    expect(stdout).toMatch(/^drift +its image changed: the next start makes the container anew$/m)
  })
})
