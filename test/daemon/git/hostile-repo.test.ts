import { spawnSync } from 'node:child_process'
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GitWorkspace, gitWorkspace } from '../../harness/git-workspace.ts'
import { commit, GIT_TEST_ENV, git, makeRepo } from '../../harness/repo.ts'

/** Whatever runs one of these leaves a file behind. */
let canary: string
let canaries: string
let space: GitWorkspace

beforeEach(async () => {
  space = await gitWorkspace()
  canaries = join(space.root, 'canaries')
  await mkdir(canaries)
  canary = join(space.root, 'canary')
  await writeFile(canary, `#!/bin/sh\necho "$0 $*" >> '${canaries}/ran'\ncat\n`)
  await chmod(canary, 0o755)
})
afterEach(() => space[Symbol.asyncDispose]())

async function plantHooks(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true })
  for (const hook of [
    'post-checkout',
    'reference-transaction',
    'post-merge',
    'pre-commit',
    'fsmonitor-watchman',
    'post-index-change',
  ]) {
    await writeFile(join(directory, hook), await readFile(canary))
    await chmod(join(directory, hook), 0o755)
  }
}

const settings = (): [string, string][] => [
  ['core.fsmonitor', canary],
  ['core.sshCommand', canary],
  ['core.pager', canary],
  ['core.editor', canary],
  ['core.askPass', canary],
  ['core.hooksPath', join(space.root, 'hooks')],
  ['core.alternateRefsCommand', canary],
  ['credential.helper', `!${canary}`],
  ['diff.external', canary],
  ['diff.evil.textconv', canary],
  ['filter.evil.smudge', canary],
  ['filter.evil.clean', canary],
  ['filter.evil.process', canary],
  ['filter.evil.required', 'true'],
  ['merge.evil.driver', canary],
  ['uploadpack.packObjectsHook', canary],
  ['init.templateDir', join(space.root, 'template')],
  ['protocol.ext.allow', 'always'],
  ['gpg.program', canary],
]

describe('hostile repositories', () => {
  it('should run nothing of what they bring along', async () => {
    const source = await makeRepo(join(space.root, 'src'), {
      files: { '.gitattributes': '* filter=evil diff=evil merge=evil\n', a: 'a\n' },
    })
    await plantHooks(join(source, '.git/hooks'))
    await plantHooks(join(space.root, 'hooks'))
    for (const [key, value] of settings()) await git(source, 'config', key, value)
    const made = await space.clone(source)
    await space.clone(source)
    expect(await readFile(join(made.workdir, 'a'), 'utf8')).toBe('a\n')
    expect(await readdir(canaries)).toEqual([])
  })

  it('should meet none of the settings of the host', async () => {
    const source = await makeRepo(join(space.root, 'src'), { files: { '.gitattributes': '* filter=evil\n', a: 'a\n' } })
    await plantHooks(join(space.root, 'template/hooks'))
    await plantHooks(join(space.root, 'hooks'))
    const home = join(space.root, 'ada')
    await mkdir(home)
    for (const [key, value] of settings())
      await git(space.root, 'config', '--file', join(home, '.gitconfig'), key, value)
    // A repository of which the workspace is a part, such as one that holds somebody's home.
    await git(space.root, 'init', '--quiet')
    for (const [key, value] of settings()) await git(space.root, 'config', key, value)
    await using other = await gitWorkspace({
      env: {
        ...GIT_TEST_ENV,
        HOME: home,
        GIT_CONFIG_GLOBAL: join(home, '.gitconfig'),
        GIT_TEMPLATE_DIR: join(space.root, 'template'),
        GIT_EXTERNAL_DIFF: canary,
        GIT_SSH_COMMAND: canary,
        GIT_PROXY_COMMAND: canary,
        GIT_EXEC_PATH: canaries,
        GIT_DIR: source,
      },
    })
    for (const place of [space, other]) {
      const made = await place.clone(source)
      expect(await readdir(join(made.workdir, '.git'))).not.toContain('hooks')
      expect(await git(made.workdir, 'config', '--local', '--list')).not.toContain(canary)
    }
    expect(await readdir(canaries)).toEqual([])
  })

  it('should not make git fetch their submodules', async () => {
    const inner = await makeRepo(join(space.root, 'inner'))
    const source = await makeRepo(join(space.root, 'src'))
    await git(source, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', inner, 'sub')
    await git(source, 'config', '--file', '.gitmodules', 'submodule.sub.url', `ext::${canary}`)
    await git(source, 'config', '--file', '.gitmodules', 'submodule.sub.fetchRecurseSubmodules', 'true')
    await commit(source, {}, 'with a submodule')
    await git(source, 'config', 'submodule.recurse', 'true')
    const { workdir } = await space.clone(source)
    expect(await readdir(join(workdir, 'sub'))).toEqual([])
    expect(await readdir(join(workdir, '.git'))).not.toContain('modules')
    expect(await readdir(canaries)).toEqual([])
  })

  it('should not make git fetch what they left out, with a command of their own', async () => {
    const whole = await makeRepo(join(space.root, 'whole'), { files: { a: 'a\n', b: 'b\n' } })
    await git(whole, 'config', 'uploadpack.allowFilter', 'true')
    await git(space.root, 'clone', '--quiet', '--no-checkout', '--filter=blob:none', `file://${whole}`, 'src')
    const source = join(space.root, 'src')
    await git(source, 'config', 'remote.origin.url', `ext::${canary}`)
    await git(source, 'config', 'remote.origin.uploadpack', canary)
    await git(source, 'config', 'protocol.ext.allow', 'always')
    await expect(space.clone(source)).rejects.toMatchObject({ code: 'repo_unavailable' })
    expect(await readdir(canaries)).toEqual([])
  })

  it('should not be able to write into the clone itself', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    // git refuses to make such a tree, so it is made by hand.
    const blob = await git(source, 'hash-object', '-w', canary)
    const hooks = mktree(source, `100755 blob ${blob}\tpost-checkout\n`)
    const dotGit = mktree(source, `040000 tree ${hooks}\thooks\n`)
    const root = mktree(source, `040000 tree ${dotGit}\t.git\n`)
    const evil = await git(source, 'commit-tree', '-m', 'evil', root)
    await git(source, 'update-ref', 'refs/heads/main', evil)
    const workdir = await space.workdir('x')
    await expect(space.clone(source, { id: 'x' })).rejects.toMatchObject({ code: 'git_failed' })
    expect(await readdir(workdir)).toEqual([])
    expect(await readdir(canaries)).toEqual([])
  })

  it('should not be able to pass off a branch of theirs as the default one', async () => {
    const source = await makeRepo(join(space.root, 'src'), { branch: 'trunk' })
    const trunk = await git(source, 'rev-parse', 'HEAD')
    const other = await git(source, 'commit-tree', '-m', 'other', 'HEAD^{tree}')
    await git(source, 'update-ref', 'refs/heads/HEAD', other)
    const { repo, workdir } = await space.clone(source)
    expect(repo.start).toBe(trunk)
    expect(await git(workdir, 'rev-parse', 'refs/remotes/origin/trunk')).toBe(trunk)
  })
})

function mktree(cwd: string, input: string): string {
  const { stdout } = spawnSync('git', ['mktree'], { cwd, env: GIT_TEST_ENV, input, encoding: 'utf8' })
  return stdout.trim()
}
