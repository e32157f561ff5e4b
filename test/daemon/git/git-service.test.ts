import { chmod, chown, mkdir, readdir, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GitWorkspace, gitWorkspace } from '../../harness/git-workspace.ts'
import { commit, git, makeRepo } from '../../harness/repo.ts'

let space: GitWorkspace
beforeEach(async () => {
  space = await gitWorkspace()
})
afterEach(() => space[Symbol.asyncDispose]())

const mirrors = () => readdir(join(space.home, 'mirrors')).catch(() => [])
const code = (name: string) => expect.objectContaining({ code: name })

describe('clones', () => {
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
    expect(made.progress.map(({ message }) => message)).toContain('checking out loop/work-a')
  })

  it('should see what is new, renamed and gone at the next clone', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    await git(source, 'branch', 'topic')
    await space.clone(source)
    const next = await commit(source, { a: 'a' }, 'second')
    await git(source, 'branch', '--delete', '--force', 'topic')
    // A branch below the name of one that is gone: refs that are never removed would be in its way.
    await git(source, 'branch', 'topic/below')
    await git(source, 'branch', '--move', 'main', 'trunk')
    const made = await space.clone(source)
    expect(made.repo.start).toBe(next)
    expect(await git(made.workdir, 'branch', '--remotes', '--format=%(refname)')).toBe(
      'refs/remotes/origin/HEAD\nrefs/remotes/origin/topic/below\nrefs/remotes/origin/trunk',
    )
    expect(await mirrors()).toHaveLength(1)
  })

  it('should never lose an object that a clone borrows', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    await git(source, 'checkout', '--quiet', '-b', 'topic')
    await commit(source, { a: 'a' }, 'on the topic')
    const { workdir, repo } = await space.clone(source, { ref: 'topic' })
    await git(source, 'checkout', '--quiet', 'main')
    await git(source, 'branch', '--delete', '--force', 'topic')
    await space.clone(source)
    const mirror = space.service.mirrorPath(repo.mirror)
    await git(mirror, 'gc', '--quiet', '--prune=now')
    expect(await git(workdir, 'fsck')).toBe('')
  })

  it.each(['topic', 'v1', 'light', 'refs/tags/v1'])('should begin at %s when that is named', async (ref) => {
    const source = await makeRepo(join(space.root, 'src'))
    const wanted = await commit(source, { a: 'a' }, 'second')
    await git(source, 'branch', 'topic')
    await git(source, 'tag', '--annotate', '--message=one', 'v1')
    await git(source, 'tag', 'light')
    await commit(source, { b: 'b' }, 'third')
    expect((await space.clone(source, { ref })).repo.start).toBe(wanted)
  })

  it('should begin at a commit, by its whole id or a part of it', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    const first = await git(source, 'rev-parse', 'HEAD')
    await commit(source, { b: 'b' }, 'second')
    expect((await space.clone(source, { ref: first })).repo.start).toBe(first)
    expect((await space.clone(source, { ref: first.slice(0, 8) })).repo.start).toBe(first)
  })

  it('should refuse a ref that does not exist, naming it and leaving the workdir empty', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    const workdir = await space.workdir('x')
    for (const ref of ['nope', 'deadbeef', '0'.repeat(40)]) {
      const refused = space.clone(source, { id: 'x', ref })
      await expect(refused).rejects.toMatchObject({ code: 'repo_invalid', message: expect.stringContaining(ref) })
      await expect(refused).rejects.toMatchObject({ next: expect.stringContaining('main') })
    }
    await git(source, 'tag', 'tree', 'HEAD^{tree}')
    await expect(space.clone(source, { id: 'x', ref: 'tree' })).rejects.toThrow(code('repo_invalid'))
    await expect(space.clone(source, { id: 'x', ref: '--orphan=zz' })).rejects.toThrow(code('repo_invalid'))
    expect(await readdir(workdir)).toEqual([])
  })

  it('should be on an unborn branch of an empty repository', async () => {
    const source = join(space.root, 'empty')
    await git(space.root, 'init', '--quiet', '--bare', source)
    const made = await space.clone(source, { id: 'a' })
    expect(made.repo.start).toBe('0'.repeat(40))
    expect(await git(made.workdir, 'status', '--porcelain', '--branch')).toBe('## No commits yet on loop/work-a')
    await expect(space.clone(source, { ref: 'main' })).rejects.toMatchObject({
      next: expect.stringContaining('no commits'),
    })
    await commit(made.workdir, { a: 'a' }, 'first')
    await git(made.workdir, 'push', '--quiet', 'origin', 'HEAD:trunk')
    expect((await space.clone(source)).repo.start).toBe(await git(made.workdir, 'rev-parse', 'HEAD'))
  })

  it('should work from a bundle, and where HEAD is on no branch', async () => {
    const source = await makeRepo(join(space.root, 'src'), { branch: 'trunk' })
    const bundle = join(space.root, 'src.bundle')
    await git(source, 'bundle', 'create', '--quiet', bundle, 'HEAD', '--branches', '--tags')
    const made = await space.clone(bundle)
    expect(await git(made.workdir, 'symbolic-ref', 'refs/remotes/origin/HEAD')).toBe('refs/remotes/origin/trunk')

    await git(source, 'checkout', '--quiet', '--detach')
    const lost = await commit(source, { a: 'a' }, 'on no branch')
    expect((await space.clone(source)).repo.start).toBe(lost)
  })

  it('should work with object ids of SHA-256', async () => {
    const source = join(space.root, 'src')
    await git(space.root, 'init', '--quiet', '--object-format=sha256', source)
    const head = await commit(source, { a: 'a' }, 'first')
    const made = await space.clone(source)
    expect(made.repo.start).toBe(head)
    expect(await git(made.workdir, 'rev-parse', 'HEAD')).toBe(head)
  })

  it('should hold no path of the host but that of the origin', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    const { workdir } = await space.clone(source)
    const files = await readdir(join(workdir, '.git'), { recursive: true, withFileTypes: true })
    for (const file of files.filter((entry) => entry.isFile())) {
      const content = await readFile(join(file.parentPath, file.name), 'latin1')
      expect(content.replace(`url = "${source}"`, ''), file.name).not.toContain(space.root)
    }
  })

  it('should find what they borrow after the workspace was moved', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    await space.clone(source, { id: 'a' })
    await rename(space.home, join(space.root, 'elsewhere'))
    expect(await git(join(space.root, 'elsewhere/loops/a/workdir'), 'log', '--format=%s')).toBe('first')
  })

  it('should be possible many at once', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    const made = await Promise.all(Array.from({ length: 8 }, () => space.clone(source)))
    const head = await git(source, 'rev-parse', 'HEAD')
    expect(made.map(({ repo }) => repo.start)).toEqual(Array.from({ length: 8 }, () => head))
    for (const { workdir } of made) expect(await git(workdir, 'status', '--porcelain')).toBe('')
    expect(await mirrors()).toHaveLength(1)
    const said = made.flatMap(({ progress }) => progress.map(({ message }) => message))
    expect(said).toContain(`waiting for another fetch of ${source}`)
  })

  it('should go on with what was fetched before, and say so, when the origin is gone', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    await space.clone(source)
    await rm(source, { recursive: true })
    const { progress, workdir } = await space.clone(source)
    expect(progress.map(({ message }) => message).join('\n')).toMatch(
      /warning: .*there is no such path.*fetched before/,
    )
    expect(await git(workdir, 'log', '--format=%s')).toBe('first')
  })

  it('should take the roster at its word', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    await using named = await gitWorkspace({ roster: [{ name: 'web', git: source }] })
    expect((await named.clone('web')).repo).toMatchObject({ source: 'web', url: source })
  })
})

describe('sources that cannot be cloned', () => {
  it('should be named, with nothing left behind', async () => {
    const workdir = await space.workdir('x')
    await mkdir(join(space.root, 'plain'))
    for (const name of ['missing', 'plain']) {
      const refused = space.clone(join(space.root, name), { id: 'x' })
      await expect(refused).rejects.toMatchObject({ code: 'repo_unavailable', message: expect.stringContaining(name) })
      await expect(refused).rejects.toMatchObject({ next: expect.any(String) })
    }
    expect(await readdir(workdir)).toEqual([])
    expect(await mirrors()).toEqual([])
  })

  it('should be refused when they cannot be read', async () => {
    const loop = join(space.root, 'loop')
    await symlink(loop, loop)
    await expect(space.clone(loop)).rejects.toMatchObject({
      code: 'repo_unavailable',
      message: expect.stringContaining('cannot be read'),
    })
  })

  it('should be refused when they are shallow', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    await commit(source, { a: 'a' }, 'second')
    await git(space.root, 'clone', '--quiet', '--depth=1', `file://${source}`, 'shallow')
    await expect(space.clone(join(space.root, 'shallow'))).rejects.toMatchObject({
      code: 'repo_unavailable',
      message: expect.stringContaining('shallow'),
    })
    expect(await mirrors()).toEqual([])
  })

  it('should be refused in the workspace, where a sandbox can write, also through links', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    const { workdir } = await space.clone(source)
    await symlink(workdir, join(space.root, 'link'))
    await git(workdir, 'worktree', 'add', '--quiet', '-b', 'other', join(space.root, 'tree'))
    for (const path of [workdir, join(space.root, 'link'), join(space.root, 'tree')]) {
      await expect(space.clone(path)).rejects.toMatchObject({
        code: 'repo_invalid',
        message: expect.stringContaining('workspace'),
      })
    }
  })

  it('should be refused when they belong to somebody else', async () => {
    // `/` and most of what is in it belong to root, or to nobody that runs tests.
    const foreign = process.getuid?.() === 0 ? await foreignDirectory(space.root) : '/usr'
    await expect(space.clone(foreign)).rejects.toMatchObject({
      code: 'repo_unavailable',
      message: expect.stringContaining('another user'),
      next: expect.stringContaining('bundle create'),
    })
  })

  it('should not be reached when they need a key and none is configured', async () => {
    await expect(space.clone('git@127.0.0.1:web.git')).rejects.toMatchObject({
      code: 'repo_unavailable',
      next: expect.stringContaining('[git]'),
    })
  })

  it('should not be reached with a key that is missing or open to others', async () => {
    const key = join(space.root, 'key')
    await using other = await gitWorkspace({ key })
    await expect(other.clone('git@127.0.0.1:web.git')).rejects.toMatchObject({ message: expect.stringContaining(key) })
    await writeFile(key, 'x')
    await chmod(key, 0o644)
    await expect(other.clone('git@127.0.0.1:web.git')).rejects.toMatchObject({ next: `chmod 600 ${key}` })
  })
})

describe('interruptions', () => {
  it('should leave an empty workdir and no trace when a clone is aborted', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    const workdir = await space.workdir('x')
    const reason = new Error('gone')
    await expect(space.clone(source, { id: 'x', signal: AbortSignal.abort(reason) })).rejects.toBe(reason)

    for (const stage of ['fetching', 'checking out']) {
      const abort = new AbortController()
      const request = { source, branch: 'loop/x', workdir }
      const clone = space.service.clone(
        request,
        ({ message }) => message.startsWith(stage) && abort.abort(reason),
        abort.signal,
      )
      await expect(clone).rejects.toBe(reason)
      expect(await readdir(workdir)).toEqual([])
      expect((await mirrors()).filter((name) => name.startsWith('.'))).toEqual([])
    }
    expect((await space.clone(source, { id: 'x' })).repo.start).toBe(await git(source, 'rev-parse', 'HEAD'))
  })

  it('should not be in the way of the next fetch when git was killed', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    const { repo } = await space.clone(source)
    const mirror = space.service.mirrorPath(repo.mirror)
    const next = await commit(source, { a: 'a' }, 'second')
    for (const lock of ['packed-refs.lock', 'config.lock', 'refs/remotes/origin/main.lock', 'HEAD.lock']) {
      await writeFile(join(mirror, lock), '')
      await utimes(join(mirror, lock), 0, 0)
    }
    await writeFile(join(mirror, 'objects/pack/tmp_pack_x'), '')
    const made = await space.clone(source)
    expect(made.repo.start).toBe(next)
    expect(made.progress.map(({ message }) => message).join('\n')).not.toContain('warning')
    expect(await readdir(join(mirror, 'objects/pack'))).not.toContain('tmp_pack_x')
  })

  it('should be swept at start', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    const { repo } = await space.clone(source)
    const mirror = space.service.mirrorPath(repo.mirror)
    await mkdir(join(space.home, 'mirrors/.new-0123456789ab/mirror.git'), { recursive: true })
    await mkdir(join(space.home, 'mirrors/.kept-0123456789ab'), { recursive: true })
    const before = await readdir(mirror, { recursive: true })
    await mkdir(join(mirror, 'objects/1a'))
    for (const name of [
      'HEAD.0a1b2c.tmp~',
      'packed-refs.lock',
      'packed-refs.new',
      'objects/1a/tmp_obj_x',
      'objects/pack/pack-1.keep',
      'refs/remotes/origin/main.lock',
    ]) {
      await writeFile(join(mirror, name), '')
    }
    await space.service.sweep()
    expect(await mirrors()).toEqual([`${repo.mirror}.git`])
    const after = await readdir(mirror, { recursive: true })
    expect(after.filter((name) => !before.includes(name))).toEqual(['objects/1a'])
  })

  it('should keep branches that look like something left behind', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    const { repo } = await space.clone(source)
    const mirror = space.service.mirrorPath(repo.mirror)
    await git(mirror, 'update-ref', 'refs/heads/loop/tmp_x', repo.start)
    await space.service.sweep()
    expect(await git(mirror, 'rev-parse', 'refs/heads/loop/tmp_x')).toBe(repo.start)
  })

  it('should be swept in a workspace that has no mirrors', async () => {
    await space.service.sweep()
    expect(await mirrors()).toEqual([])
  })
})

describe('names of mirrors', () => {
  it('should be checked before they become paths', () => {
    expect(space.service.mirrorPath('web-01234567')).toBe(join(space.home, 'mirrors/web-01234567.git'))
    for (const name of ['..', '../../etc-01234567', '', 'web']) {
      expect(() => space.service.mirrorPath(name)).toThrow(code('repo_invalid'))
    }
  })

  it('should not let one address have the mirror of another', async () => {
    const source = await makeRepo(join(space.root, 'src'))
    const { repo } = await space.clone(source)
    await git(space.service.mirrorPath(repo.mirror), 'config', 'remote.origin.url', '/srv/other')
    await expect(space.clone(source)).rejects.toThrow(code('git_failed'))
  })
})

async function foreignDirectory(root: string): Promise<string> {
  const path = await makeRepo(join(root, 'foreign'))
  await chown(path, 12_345, 12_345)
  return path
}
