import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GitWorkspace, gitWorkspace } from '../../harness/git-workspace.ts'
import { commit, git, makeRepo } from '../../harness/repo.ts'

describe('clones', () => {
  let space: GitWorkspace
  beforeEach(async () => {
    space = await gitWorkspace()
  })
  afterEach(() => space[Symbol.asyncDispose]())

  it('should begin at the default branch, whatever its name is', async () => {
    const source = await makeRepo(join(space.root, 'web app'), { branch: 'trunk' })
    const made = await space.clone(source, { id: 'a' })
    const head = await git(source, 'rev-parse', 'trunk')
    expect(made.repo).toMatchObject({ source, url: source, start: head })
    expect(made.repo.mirror).toMatch(/^web-app-[0-9a-f]{8}$/)
    expect(await git(made.workdir, 'rev-parse', 'HEAD')).toBe(head)
    expect(await git(made.workdir, 'branch', '--show-current')).toBe('loop/work-a')
    expect(await git(made.workdir, 'status', '--porcelain')).toBe('')
    expect(await readFile(join(made.workdir, 'README'), 'utf8')).toBe('hello\n')
    expect(await git(made.workdir, 'symbolic-ref', 'refs/remotes/origin/HEAD')).toBe('refs/remotes/origin/trunk')
    expect(await git(made.workdir, 'remote', 'get-url', 'origin')).toBe(source)
    expect(await git(made.workdir, 'fsck', '--strict')).toBe('')
    await expect(git(made.workdir, 'rev-parse', '@{upstream}')).rejects.toThrow(/no upstream/)
  })

  it('should see what is new at the next clone', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    await space.clone(source)
    const next = await commit(source, { a: 'a' }, 'second')
    expect((await space.clone(source)).repo.start).toBe(next)
    expect(await readdir(join(space.home, 'mirrors'))).toHaveLength(1)
  })
})
