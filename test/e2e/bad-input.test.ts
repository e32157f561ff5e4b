import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { connect as connectClient } from '@loopatd/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ResultOf } from '../../protocol/contract.ts'
import type { LoopInfo } from '../../protocol/loop.ts'
import { makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

type Shown = LoopInfo & Pick<ResultOf<'loop/get'>, 'container' | 'paths'>

describe('bad input', () => {
  let workspace: TestWorkspace

  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', '--name', 'taken', '--no-start')
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  async function loops(): Promise<readonly object[]> {
    await using client = await connectClient({ socket: workspace.socket })
    return (await client.loop.list({ archived: 'include' })).loops
  }

  /** Runs loopctl, which must fail, name the thing and say what to do next, and leave the loops as they are. */
  async function refused(args: readonly string[], expected: { code: number; names: string }): Promise<void> {
    const before = await loops()
    const { code, stdout, stderr } = await workspace.loopctl(args, { env: { LOOPAT_LOG_LEVEL: 'info' } })
    expect({ code, stdout }).toEqual({ code: expected.code, stdout: '' })
    expect(stderr).toMatch(/^loopctl: /m)
    expect(stderr).toContain(expected.names)
    expect(stderr).toContain('\n  → ')
    expect(await loops()).toEqual(before)
  }

  it.each([
    ['an unknown loop', ['show', 'nothing'], 3, '"nothing"'],
    ['an unknown loop to start', ['start', 'nothing'], 3, '"nothing"'],
    ['an unknown loop to run something in', ['exec', 'nothing', 'true'], 125, '"nothing"'],
    ['a variable of a command with a dash', ['exec', '-e', 'A-B=1', 'taken', 'true'], 125, 'A-B=1'],
    [
      'a directory that is not absolute',
      ['exec', '-w', 'tmp', '--no-start', 'taken', 'true'],
      125,
      'cwd must be absolute',
    ],
    ['a time limit that is none', ['exec', '--timeout', 'soon', 'taken', 'true'], 125, "'soon'"],
    ['a size that is too large', ['exec', '--max-output', '5m', '--no-start', 'taken', 'true'], 125, '4194304'],
    [
      'NUL in an argument',
      ['rpc', 'exec/run', '{"loop":"taken","command":["a\\u0000"]}'],
      2,
      'command[0] must not contain NUL',
    ],
    ['neither command nor shell', ['rpc', 'exec/run', '{"loop":"taken"}'], 2, 'either command or shell'],
    ['a name that is taken', ['create', '--name', 'taken'], 4, 'taken'],
    ['a name that is none', ['create', '--name', 'No Name'], 2, 'name'],
    ['a title that is too long', ['create', '--title', 'x'.repeat(201)], 2, '200'],
    ['a title with control characters', ['create', '--title', 'a\x1bb'], 2, 'title'],
    ['an unknown method', ['rpc', 'no/method'], 2, 'no/method'],
    ['params of the wrong type', ['rpc', 'loop/list', '{"archived":1}'], 2, 'archived'],
    ['params that are unknown', ['rpc', 'loop/list', '{"colour":1}'], 2, 'colour'],
    ['params that are missing', ['rpc', 'loop/get'], 2, 'loop'],
    ['a repository that does not exist', ['create', '--repo', '/no/such/repository'], 3, '/no/such/repository'],
    ['a repository that is no repository', ['create', '--repo', '/etc'], 3, '/etc'],
    ['a roster name that does not exist', ['create', '--repo', 'no-such-name'], 2, 'no-such-name'],
    ['a repository that is an option', ['create', '--repo=--upload-pack=x'], 2, '--upload-pack'],
    ['a transport that runs programs', ['create', '--repo', 'ext::sh -c true'], 2, 'ext::'],
    ['a ref that is an option', ['create', '--repo', '/etc', '--ref=--force'], 2, '--force'],
    ['a vault that does not exist', ['create', '--vault', 'nothing'], 3, '"nothing"'],
    ['a vault that does not exist, later', ['update', 'taken', '--vault', 'nothing'], 3, '"nothing"'],
    ['a vault that is a path', ['create', '--vault', '../default'], 2, 'vault'],
    ['a vault to make that is a path', ['vault', 'create', '../x'], 2, 'vault'],
    ['a vault to remove that is a path', ['vault', 'rm', '--force', '..'], 2, 'vault'],
    ['a file of a vault that leads out', ['vault', 'set', 'default', '--home', '../../x'], 2, 'home'],
    ['a variable with a dash', ['env', 'set', 'taken', 'A-B=1'], 2, 'A-B'],
    ['a variable with a dash, later', ['update', 'taken', '--env', 'A-B=1'], 2, 'A-B'],
    ['a secret variable with a dash', ['vault', 'set', 'default', 'A-B'], 2, 'stdin is empty'],
    ['a mount of what is not there', ['create', '--mount', '/no/such:/data'], 2, '/no/such does not exist'],
    ['a mount of what is not there, later', ['update', 'taken', '--mount', '/no/such:/data'], 2, '/no/such'],
    ['a mount with ".."', ['create', '--mount', '/tmp/../etc:/data'], 2, '".."'],
    ['a mount at a place with ".."', ['create', '--mount', '/etc:/data/../x'], 2, '".."'],
    ['a mount over the system', ['create', '--mount', '/etc:/proc/x'], 2, '/proc/x'],
    [
      'two mounts at one place',
      ['create', '--mount', '/etc:/data', '--mount', '/usr:/data/'],
      2,
      'two mounts want /data',
    ],
    ['a mount without a place', ['create', '--mount', '/etc'], 2, 'SOURCE:TARGET'],
    ['a mount to take away that is none', ['update', 'taken', '--unmount', '/data'], 2, '/data'],
    ['a name server that is a name', ['create', '--dns', 'dns.example'], 2, 'dns'],
    ['a limit that is no number', ['create', '--memory', 'much'], 2, 'memory'],
    ['a limit that there is not', ['update', 'taken', '--limits', 'disk=1g'], 2, 'memory, cpus and pids'],
    ['an image that is an option', ['create', '--image=--privileged'], 2, 'image'],
    ['a change of an unknown loop', ['update', 'nothing', '--dns', '10.0.0.1'], 3, '"nothing"'],
    ['a plan for an unknown loop', ['plan', 'nothing'], 3, '"nothing"'],
  ])('should be refused: %s', async (_what, args, code, names) => {
    await refused(args, { code, names })
  })

  it('should be refused: what a loop cannot run, by name and with the next step', async () => {
    await workspace.ok('start', 'taken')
    await refused(['exec', 'taken', 'no-such-program'], { code: 127, names: '"no-such-program"' })
    await refused(['exec', 'taken', '/no/such/program'], { code: 127, names: '"/no/such/program"' })
    await refused(['exec', 'taken', '/etc/not-executable'], { code: 126, names: '"/etc/not-executable"' })
    await refused(['exec', 'taken', '/etc'], { code: 126, names: '"/etc"' })
    await refused(['exec', '-w', '/no/such', 'taken', 'true'], { code: 126, names: '/no/such' })
    await refused(['exec', '-w', '/etc/passwd', 'taken', 'true'], { code: 126, names: '/etc/passwd' })
    const list = Array.from({ length: 9 }, () => 'x'.repeat(131_071))
    await refused(['exec', 'taken', 'true', ...list], { code: 125, names: 'command must have at most 1048576 bytes' })
    await workspace.ok('stop', 'taken')
  })

  it('should not be bad: a list of arguments of nearly 1 MiB', async () => {
    const script = 'echo "$# $(printf "%s\\0" "$@" | wc -c)"'
    const few = Array.from({ length: 7 }, () => 'x'.repeat(131_071))
    const many = Array.from({ length: 60_000 }, (_, n) => `argument ${n}`)
    for (const list of [few, many]) {
      const bytes = list.reduce((sum, word) => sum + word.length + 1, 0)
      expect(await workspace.ok('exec', 'taken', 'sh', '-c', script, 'sh', ...list)).toBe(`${list.length} ${bytes}`)
    }
    await workspace.ok('stop', 'taken')
  })

  it('should leave a loop that says why, when only its image is missing', async () => {
    const { code, stderr } = await workspace.loopctl(['create', '--name', 'no-image', '--image', 'localhost/none:1'])
    expect(code).toBe(5)
    expect(stderr).toContain('localhost/none:1')
    const loop = await workspace.json<LoopInfo>('show', 'no-image')
    expect(loop).toMatchObject({ state: 'created', reason: expect.stringContaining('localhost/none:1') })
    await workspace.ok('rm', 'no-image')
  })

  it('should be refused: a prefix that several ids have', async () => {
    // Ids are random: metadata is written by hand, as a user may do.
    const { id, paths } = await workspace.json<LoopInfo & { paths: { directory: string } }>('show', 'taken')
    const other = `${id.slice(0, 24)}${id[24] === '0' ? '1' : '0'}${id.slice(25)}`
    const meta: Record<string, unknown> = JSON.parse(await readFile(join(paths.directory, 'meta.json'), 'utf8'))
    const directory = join(paths.directory, '..', other)
    await workspace.ok('daemon', 'stop')
    for (const part of ['', 'workdir', 'home-upper', 'run']) await mkdir(join(directory, part), { recursive: true })
    await writeFile(join(directory, 'meta.json'), JSON.stringify({ ...meta, id: other, name: 'other' }))
    await workspace.ok('daemon', 'start')
    const prefix = id.slice(0, 8)
    await refused(['show', prefix], { code: 2, names: prefix })
    await workspace.ok('rm', 'other')
  })

  it('should be shown, not dropped or overwritten: metadata that cannot be read', async () => {
    const directory = join(workspace.home, 'loops', '01234567-89ab-4cde-8f01-23456789abcd')
    await workspace.ok('daemon', 'stop')
    await mkdir(directory)
    await writeFile(join(directory, 'meta.json'), '{"version": 1, ')
    const loops = await workspace.json<LoopInfo[]>('ls')
    expect(loops.at(-1)).toMatchObject({ id: '01234567-89ab-4cde-8f01-23456789abcd', state: 'broken' })
    expect(loops.at(-1)?.reason).toContain('meta.json')
    expect(await workspace.ok('ls')).toContain('broken')
    const doctor = await workspace.loopctl(['doctor'])
    expect(doctor.stdout + doctor.stderr).toContain('01234567')
    await refused(['start', '01234567'], { code: 7, names: '01234567' })
    await refused(['rm', '01234567'], { code: 7, names: '01234567' })
    expect(await readFile(join(directory, 'meta.json'), 'utf8')).toBe('{"version": 1, ')
  })

  it('should keep the container of a loop whose metadata was edited into nonsense, until it is mended', async () => {
    await workspace.ok('create', '--name', 'edited')
    const { id, container, paths } = await workspace.json<Shown>('show', 'edited')
    const path = join(paths.directory, 'meta.json')
    const text = await readFile(path, 'utf8')
    const nonsense = [
      [{ vault: '../other' }, 'vault'],
      [{ user: '../root' }, 'user'],
      [{ env: { 'A-B': '1' } }, 'env'],
      [{ mounts: 'all' }, 'mounts'],
      [{ update: { previous: 1 } }, 'update'],
    ] as const
    for (const [change, key] of nonsense) {
      const edited = JSON.stringify({ ...JSON.parse(text), ...change })
      await writeFile(path, edited)
      const loop = (await workspace.json<LoopInfo[]>('ls')).find((other) => other.id === id)
      expect(loop).toMatchObject({ state: 'broken', reason: expect.stringContaining(`meta.json: ${key}`) })
      for (const command of [
        ['start', id],
        ['update', id, '--dns', '10.0.0.1'],
        ['inspect', id],
        ['rm', '--force', id],
      ]) {
        await refused(command, { code: 7, names: id })
      }
      expect(await readFile(path, 'utf8')).toBe(edited)
    }
    await writeFile(path, text)
    expect(await workspace.ok('exec', 'edited', 'echo', 'alive')).toBe('alive')
    expect((await workspace.json<Shown>('show', 'edited')).container.id).toBe(container.id)
    await workspace.ok('rm', '--force', 'edited')
  })

  it('should leave out a mount that was edited into what is refused, and say so', async () => {
    await workspace.ok('create', '--name', 'edited', '--no-start')
    const { paths } = await workspace.json<Shown>('show', 'edited')
    const path = join(paths.directory, 'meta.json')
    const mounts = [
      { source: workspace.home, target: '/data/home', readOnly: true },
      { source: '/etc', target: '/data/../proc', readOnly: true },
      { source: '/etc', target: '/data/etc', readOnly: true },
      { source: '/usr', target: '/data/etc', readOnly: true },
    ]
    await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), mounts }))
    await workspace.ok('start', 'edited')
    expect(await workspace.ok('exec', 'edited', 'ls', '/data')).toBe('etc')
    const { skipped } = await workspace.json<ResultOf<'loop/inspect'>>('inspect', 'edited')
    expect(skipped.map(({ target }) => target)).toEqual(['/data/home', '/data/../proc', '/data/etc'])
    await workspace.ok('rm', '--force', 'edited')
  })

  it('should end only the connection it came on: garbage on the socket', async () => {
    for (const garbage of [
      'GET / HTTP/1.1\r\n\r\n',
      '\0'.repeat(100_000),
      'Content-Length: 99999999999\r\n\r\n',
      'STREAM x\n',
    ]) {
      const socket = connect(workspace.socket)
      socket.on('error', () => undefined)
      socket.end(garbage)
      await text(socket)
    }
    expect(await workspace.ok('ls')).toContain('taken')
  })

  it('should be refused: a client that speaks another version', async () => {
    const socket = connect(workspace.socket)
    const params = { protocolVersion: 99, client: { name: 'test', version: '1' } }
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params })
    socket.end(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
    const answer = await text(socket)
    expect(answer).toContain('protocol_unsupported')
    expect(answer).toContain('99')
  })

  it('should be refused: a second daemon', async () => {
    const pid = await workspace.daemonPid()
    const { code, stderr } = await workspace.loopatd()
    expect(code).toBe(4)
    expect(stderr).toContain(workspace.name)
    expect(stderr).toContain('\n  → ')
    expect(await workspace.daemonPid()).toBe(pid)
  })
})

describe('a configuration that is wrong', () => {
  it.each([
    ['[image\n', 'config.toml:1'],
    ['[daemon]\ndrain_secnods = 1\n', 'drain_secnods'],
    ['[daemon]\ndrain_seconds = "soon"\n', 'drain_seconds'],
  ])('should be refused with file, line and key: %j', async (config, names) => {
    await using workspace = await makeWorkspace({ config, image: false })
    const { code, stderr } = await workspace.loopctl(['ls'])
    expect(code).toBe(6)
    expect(stderr).toContain('config.toml')
    expect(stderr).toContain(names.replace('config.toml:1', 'config.toml'))
    const doctor = await workspace.loopctl(['doctor', '--json'])
    expect(doctor.code).toBe(5)
    expect(JSON.parse(doctor.stdout)).toMatchObject({ ready: false, checks: [{ name: 'daemon', status: 'failed' }] })
    await writeFile(join(workspace.home, 'config.toml'), '')
    expect((await workspace.loopctl(['ls'])).code).toBe(0)
  })

  it('should be refused: a home that is no absolute path', async () => {
    await using workspace = await makeWorkspace({ image: false })
    const { code, stderr } = await workspace.loopctl(['ls'], { env: { LOOPAT_HOME: 'relative' } })
    expect(code).toBe(2)
    expect(stderr).toContain('LOOPAT_HOME')
  })
})

describe('a host without podman', () => {
  it('should still have a daemon, which says what is missing', async () => {
    await using workspace = await makeWorkspace({ image: false, config: '[engine]\nsocket = "/nowhere/podman.sock"\n' })
    const env = { PATH: await workspace.pathWithout('podman') }
    expect((await workspace.loopctl(['daemon', 'start'], { env })).code).toBe(0)
    const status = await workspace.json<{ engine: { state: string; reason: string } }>('daemon', 'status')
    expect(status.engine).toMatchObject({ state: 'down', reason: expect.stringContaining('podman') })
    const created = await workspace.loopctl(['create', 'x'])
    expect(created.code).toBe(5)
    expect(created.stderr).toContain('podman')
    expect(created.stderr).toContain('\n  → ')
    const doctor = await workspace.loopctl(['doctor'])
    expect(doctor.code).toBe(5)
    expect(doctor.stdout).toContain('apt-get install')
  })
})
