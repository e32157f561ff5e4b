import { mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LoopInfo } from '../../protocol/loop.ts'
import { makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

type Shown = LoopInfo & { container: { id: string | null }; paths: { workdir: string; directory: string } }

describe('the life of a loop', () => {
  let workspace: TestWorkspace

  beforeAll(async () => {
    workspace = await makeWorkspace()
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  const show = (loop: string) => workspace.json<Shown>('show', loop)

  it('should go from creation to removal, and leave nothing', async () => {
    const created = await workspace.loopctl(['create', 'Fix', 'the', 'Login!', '--no-start'])
    expect(created).toMatchObject({ code: 0, stdout: 'fix-the-login\n' })
    expect(await show('fix-the-login')).toMatchObject({ title: 'Fix the Login!', state: 'created', address: null })

    expect(await workspace.ok('start', 'fix-the-login')).toBe('fix-the-login')
    const running = await show('fix-the-login')
    expect(running).toMatchObject({ state: 'running', address: expect.stringMatching(/^\d+\.\d+\.\d+\.\d+$/) })
    expect(await workspace.ok('show', running.id.slice(0, 4))).toContain(running.id)
    expect(await workspace.ok('ls')).toMatch(/^NAME +STATE .*\nfix-the-login +running /)

    await workspace.ok('exec', 'fix-the-login', 'sh', '-c', 'echo kept > file; echo kept > ~/file')
    expect(await workspace.ok('rename', 'fix-the-login', 'login', '--title', 'Login')).toBe('login')
    expect(await show('login')).toMatchObject({ id: running.id, title: 'Login', container: running.container })
    expect((await workspace.loopctl(['show', 'fix-the-login'])).code).toBe(3)

    expect(await workspace.ok('stop', 'login')).toBe('login')
    expect(await workspace.ok('stop', 'login')).toBe('login')
    expect(await show('login')).toMatchObject({ state: 'stopped', address: null })

    await workspace.ok('archive', 'login')
    await workspace.ok('archive', 'login')
    expect(await workspace.json('ls')).toEqual([])
    expect(await workspace.json('ls', '--archived')).toMatchObject([{ id: running.id, state: 'archived' }])
    expect((await workspace.loopctl(['start', 'login'])).code).toBe(4)
    expect((await workspace.loopctl(['exec', 'login', 'true'])).code).toBe(125)

    await workspace.ok('unarchive', 'login')
    expect(await workspace.ok('exec', 'login', 'sh', '-c', 'cat file ~/file')).toBe('kept\nkept')
    const restarted = await workspace.json<Shown[]>('restart', 'login')
    expect(restarted).toMatchObject([{ name: 'login', state: 'running' }])

    expect(await workspace.ok('rm', 'login')).toBe('login')
    expect(await workspace.json('ls', '--all')).toEqual([])
    expect(await workspace.containers()).toEqual([])
    expect(await workspace.ok('rm', running.id)).toBe('')
    expect((await workspace.loopctl(['rm', 'login'])).code).toBe(3)
  })

  it('should give a container only once to twenty that start it at the same time', async () => {
    const loop = await workspace.ok('create', '--name', 'twenty', '--no-start')
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => workspace.loopctl(['start', loop])))
    expect(outcomes.filter(({ code, stdout }) => code !== 0 || stdout !== 'twenty\n')).toEqual([])
    const containers = await workspace.containers()
    expect(containers).toHaveLength(1)
    expect(containers[0]?.id).toBe((await show(loop)).container.id)
    await workspace.ok('rm', loop)
  })

  it('should make ten loops at the same time, each with a name and a container of its own', async () => {
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => workspace.loopctl(['create', 'same', 'title'])))
    expect(outcomes.filter(({ code }) => code !== 0)).toEqual([])
    const names = outcomes.map(({ stdout }) => stdout.trim()).sort()
    expect(new Set(names).size).toBe(10)
    expect(names).toContain('same-title')
    expect(names).toContain('same-title-10')
    expect((await workspace.json<LoopInfo[]>('ls')).map(({ state }) => state)).toEqual(names.map(() => 'running'))
    expect(await workspace.containers()).toHaveLength(10)
    await workspace.ok('stop', '--all', '--grace', '0')
    expect((await workspace.json<LoopInfo[]>('ls')).map(({ state }) => state)).toEqual(names.map(() => 'stopped'))
    await workspace.ok('archive', ...names)
    await workspace.ok('rm', '--all-archived')
    expect(await workspace.json('ls', '--all')).toEqual([])
    expect(await workspace.containers()).toEqual([])
  })

  it('should work on a clone of a repository, in files that belong to the user', async () => {
    const repository = join(workspace.directory, 'repository')
    await mkdir(repository)
    await workspace.git(repository, 'init', '--quiet', '--initial-branch=trunk')
    await writeFile(join(repository, 'file'), 'of the origin')
    await workspace.git(repository, 'add', 'file')
    await workspace.git(repository, 'commit', '--quiet', '--message', 'first')
    const { code, stdout } = await workspace.loopctl(['create', 'Work', '--repo', './repository', '--json'], {
      cwd: workspace.directory,
    })
    expect(code).toBe(0)
    const loop: Shown = JSON.parse(stdout)
    expect(loop).toMatchObject({ branch: `loop/work-${loop.id.slice(0, 6)}`, repo: { source: repository } })
    expect(await workspace.ok('exec', 'work', 'cat', 'file', '.git/HEAD')).toBe(
      `of the originref: refs/heads/${loop.branch}`,
    )
    expect(await workspace.ok('exec', 'work', 'sh', '-c', 'echo more > new; stat -c %u file new')).toBe('2000\n2000')
    const { paths } = await show('work')
    expect((await stat(join(paths.workdir, 'new'))).uid).toBe(process.getuid?.())
    await workspace.ok('rm', '--force', 'work')
    expect(await workspace.json('ls')).toEqual([])
  })

  it('should print what happens as it happens', async () => {
    const events = workspace.spawn(['events', '--kind', 'loop/changed', '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let printed = ''
    events.stdout?.on('data', (chunk) => {
      printed += chunk
    })
    await expect
      .poll(
        async () => {
          await workspace.ok('rm', await workspace.ok('create', '--no-start', 'event'))
          return printed
        },
        { timeout: 30_000 },
      )
      .toContain('"removed":true')
    const [line = ''] = printed.split('\n')
    expect(JSON.parse(line)).toMatchObject({ kind: 'loop/changed', loop: { title: 'event' } })
    events.kill('SIGINT')
  })
})
