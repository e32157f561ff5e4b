import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GitWorkspace, gitWorkspace, runOnHost } from '../../harness/git-workspace.ts'
import { commit, git, makeRepo } from '../../harness/repo.ts'

const signal = new AbortController().signal

describe('work that is nowhere else', () => {
  let space: GitWorkspace
  let source: string
  let workdir: string
  let mirror: string
  const found = () => space.service.unpromoted(runOnHost(workdir), signal)

  beforeEach(async () => {
    space = await gitWorkspace()
    source = await makeRepo(join(space.root, 'src'), { files: { a: 'a\n', '.gitignore': 'out/\n' } })
    const made = await space.clone(source, { id: 'a' })
    workdir = made.workdir
    mirror = made.repo.mirror
  })
  afterEach(() => space[Symbol.asyncDispose]())

  it('should be none in a fresh clone', async () => {
    expect(await found()).toEqual({ commits: [], files: [] })
  })

  it('should be files that are changed, staged, removed or new, but not ignored ones', async () => {
    await writeFile(join(workdir, 'a'), 'changed\n')
    await writeFile(join(workdir, 'new\n\u001b[31m'), '')
    await mkdir(join(workdir, 'out'))
    await writeFile(join(workdir, 'out/x'), '')
    await rm(join(workdir, '.gitignore'))
    await git(workdir, 'config', 'status.showUntrackedFiles', 'no')
    expect((await found()).files.sort()).toEqual(['.gitignore', 'a', 'new ?[31m', 'out/'])
  })

  it('should be commits on any branch, on a tag and on a detached HEAD', async () => {
    await commit(workdir, { b: 'b' }, 'on the branch')
    await git(workdir, 'checkout', '--quiet', '-b', 'side', 'origin/main')
    await commit(workdir, { c: 'c' }, 'on the side')
    await git(workdir, 'checkout', '--quiet', '--detach', 'origin/main')
    await commit(workdir, { d: 'd' }, 'tagged')
    await git(workdir, 'tag', 'mine')
    await git(workdir, 'checkout', '--quiet', '--detach', 'origin/main')
    const last = await commit(workdir, { e: 'e' }, 'detached')
    const { commits, files } = await found()
    expect(files).toEqual([])
    expect(commits.map((line) => line.replace(/^[0-9a-f]{7,} /, '')).sort()).toEqual([
      'detached',
      'on the branch',
      'on the side',
      'tagged',
    ])
    expect(commits).toContain(`${last.slice(0, 7)} detached`)
  })

  it('should be stashes', async () => {
    for (const content of ['one', 'two']) {
      await writeFile(join(workdir, 'a'), content)
      await git(workdir, 'stash', 'push', '--message', content)
    }
    const { commits } = await found()
    expect(commits).toHaveLength(2)
    expect(commits.join('\n')).toMatch(/stash: .*two\n.*stash: .*one/)
  })

  it('should not be what was pushed, or what the origin has by now', async () => {
    await commit(workdir, { b: 'b' }, 'pushed')
    await git(workdir, 'push', '--quiet', 'origin', 'HEAD:refs/heads/pushed')
    expect((await found()).commits).toEqual([])

    const merged = await commit(source, { c: 'c' }, 'elsewhere')
    await git(workdir, 'fetch', '--quiet', source, 'main:local')
    expect((await found()).commits).toEqual([`${merged.slice(0, 7)} elsewhere`])
    await space.clone(source)
    expect((await found()).commits).toEqual([])
  })

  it('should be found on an unborn branch', async () => {
    await git(space.root, 'init', '--quiet', '--bare', 'empty')
    const made = await space.clone(join(space.root, 'empty'))
    workdir = made.workdir
    expect(await found()).toEqual({ commits: [], files: [] })
    await writeFile(join(workdir, 'x'), 'x')
    expect((await found()).files).toEqual(['x'])
    await commit(workdir, {}, 'first')
    expect((await found()).commits).toHaveLength(1)
  })

  it('should be listed in part only when it is much', async () => {
    await Promise.all(Array.from({ length: 150 }, (_, n) => writeFile(join(workdir, `f${n}`), '')))
    const { files } = await found()
    expect(files).toHaveLength(101)
    expect(files.at(-1)).toBe('… and more')
  })

  it('should be assumed, with a way out, where git cannot tell', async () => {
    await rm(join(workdir, '.git'), { recursive: true })
    await expect(found()).rejects.toMatchObject({ code: 'git_failed', next: expect.stringContaining('--force') })
    const without = space.service.unpromoted(
      () => Promise.resolve({ exitCode: 127, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }),
      signal,
    )
    await expect(without).rejects.toMatchObject({ code: 'git_failed', message: expect.stringContaining('no git') })
  })

  it('should not be looked for without end', async () => {
    await mkdir(join(space.root, 'bin'))
    await writeFile(
      join(space.root, 'bin/git'),
      '#!/bin/sh\nexec yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n',
    )
    await chmod(join(space.root, 'bin/git'), 0o755)
    const run = runOnHost(workdir)
    const endless = space.service.unpromoted(
      ([, ...args], options, abort) => run([join(space.root, 'bin/git'), ...args], options, abort),
      signal,
    )
    await expect(endless).rejects.toMatchObject({ code: 'git_failed', message: expect.stringContaining('without end') })
  })

  it('should be kept in the mirror, and then be promoted', async () => {
    const first = await commit(workdir, { b: 'b' }, 'kept')
    expect(await space.service.keepBranches(runOnHost(workdir), mirror, signal)).toEqual(['loop/work-a'])
    expect(await git(space.service.mirrorPath(mirror), 'rev-parse', 'refs/heads/loop/work-a')).toBe(first)
    expect((await found()).commits).toEqual([])
    expect(await space.service.keepBranches(runOnHost(workdir), mirror, signal)).toEqual([])

    const second = await commit(workdir, { b: 'c' }, 'kept too')
    expect(await space.service.keepBranches(runOnHost(workdir), mirror, signal)).toEqual(['loop/work-a'])
    // It survives the next fetch, can be started from, and is not taken for a branch of the origin.
    const next = await space.clone(source, { ref: 'loop/work-a' })
    expect(next.repo.start).toBe(second)
    expect(await git(next.workdir, 'branch', '--remotes')).not.toContain('loop')
  })

  it('should be kept also when it is based on what only the loop has fetched', async () => {
    await commit(source, { c: 'c' }, 'new in the origin')
    await git(workdir, 'pull', '--quiet', '--rebase', 'origin', 'main')
    await commit(workdir, { d: 'd' }, 'based on it')
    expect(await space.service.keepBranches(runOnHost(workdir), mirror, signal)).toEqual(['loop/work-a'])
    expect(await git(space.service.mirrorPath(mirror), 'log', '--format=%s', 'loop/work-a')).toBe(
      'based on it\nnew in the origin\nfirst',
    )
  })
})

describe('keeping branches', () => {
  let space: GitWorkspace
  beforeEach(async () => {
    space = await gitWorkspace()
  })
  afterEach(() => space[Symbol.asyncDispose]())

  it('should take branches of loops only', async () => {
    const { workdir, repo } = await space.clone(await makeRepo(join(space.root, 'src')), { id: 'a' })
    await git(workdir, 'checkout', '--quiet', '-b', 'mine')
    await commit(workdir, { b: 'b' }, 'on another branch')
    expect(await space.service.keepBranches(runOnHost(workdir), repo.mirror, signal)).toEqual([])
    await commit(workdir, { c: 'c' }, 'c')
    await git(workdir, 'branch', 'loop/two')
    expect(await space.service.keepBranches(runOnHost(workdir), repo.mirror, signal)).toEqual(['loop/two'])
    const kept = await git(space.service.mirrorPath(repo.mirror), 'for-each-ref', '--format=%(refname)', 'refs/heads')
    expect(kept).toBe('refs/heads/loop/two')
  })

  it('should not overwrite what was kept before', async () => {
    const { workdir, repo } = await space.clone(await makeRepo(join(space.root, 'src')), { id: 'a' })
    const first = await commit(workdir, { b: 'b' }, 'kept')
    await space.service.keepBranches(runOnHost(workdir), repo.mirror, signal)
    await git(workdir, 'reset', '--quiet', '--hard', 'origin/main')
    await commit(workdir, { b: 'x' }, 'something else')
    await expect(space.service.keepBranches(runOnHost(workdir), repo.mirror, signal)).rejects.toMatchObject({
      code: 'git_failed',
    })
    expect(await git(space.service.mirrorPath(repo.mirror), 'rev-parse', 'loop/work-a')).toBe(first)
  })

  it('should refuse broken objects, and what is no bundle', async () => {
    const { workdir, repo } = await space.clone(await makeRepo(join(space.root, 'src')), { id: 'a' })
    const mirror = space.service.mirrorPath(repo.mirror)
    const tree = await git(workdir, 'rev-parse', 'HEAD^{tree}')
    const raw = `tree ${tree}\nauthor no mail 1 +0000\ncommitter Ada <ada@example.org> 1 +0000\n\nbroken\n`
    await writeFile(join(space.root, 'raw'), raw)
    const broken = await git(workdir, 'hash-object', '-t', 'commit', '-w', '--literally', join(space.root, 'raw'))
    await git(workdir, 'update-ref', 'refs/heads/loop/work-a', broken)
    await expect(space.service.keepBranches(runOnHost(workdir), repo.mirror, signal)).rejects.toMatchObject({
      code: 'git_failed',
    })
    await expect(git(mirror, 'cat-file', '-e', broken)).rejects.toThrow()

    const liar = space.service.keepBranches(
      async (_command, { stdout }) => {
        await new Promise((resolve) => stdout?.write(`${'x'.repeat(1000)}\n`, resolve))
        return { exitCode: 0, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }
      },
      repo.mirror,
      signal,
    )
    await expect(liar).rejects.toMatchObject({ code: 'git_failed', message: expect.stringContaining('no bundle') })
    expect(await git(mirror, 'for-each-ref', 'refs/heads')).toBe('')
  })

  it('should refuse a bundle beyond its limit and end what makes it', async () => {
    const { keepBranches } = await import('../../../daemon/git/keep-branch.ts')
    const { GitRunner } = await import('../../../daemon/git/git-runner.ts')
    const { Mirrors } = await import('../../../daemon/git/mirror.ts')
    const { systemClock } = await import('../../../daemon/lib/clock.ts')
    const { workdir, repo } = await space.clone(await makeRepo(join(space.root, 'src')), { id: 'a' })
    await commit(workdir, { b: 'b'.repeat(100_000) }, 'large')
    const log = {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: () => undefined,
      child: () => log,
    }
    const tools = { git: new GitRunner({ env: { PATH: process.env.PATH }, home: space.home, log }), log }
    const mirrors = new Mirrors({
      home: space.home,
      clock: systemClock,
      reach: () => Promise.resolve({ kind: 'none' }),
      ...tools,
    })
    const gitDir = space.service.mirrorPath(repo.mirror)
    const job = { run: runOnHost(workdir), mirror: repo.mirror, gitDir, mirrors, git: tools.git, maxBytes: 100 }
    await expect(keepBranches(job, signal)).rejects.toMatchObject({
      code: 'git_failed',
      message: expect.stringContaining('100 bytes'),
    })
  })
})
