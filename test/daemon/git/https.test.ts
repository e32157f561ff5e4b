import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type GitHttpsServer, startGitHttpsServer } from '../../harness/git-https-server.ts'
import { type GitWorkspace, gitWorkspace } from '../../harness/git-workspace.ts'
import { GIT_TEST_ENV, git, makeRepo, type TemporaryDirectory, temporaryDirectory } from '../../harness/repo.ts'

describe('sources behind https', () => {
  let files: TemporaryDirectory
  let server: GitHttpsServer
  let space: GitWorkspace

  beforeAll(async () => {
    files = await temporaryDirectory()
    server = await startGitHttpsServer(files.path)
    await makeRepo(join(files.path, 'web'), { branch: 'trunk' })
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    await files[Symbol.asyncDispose]()
  })
  beforeEach(async () => {
    // Credentials of the host, in the place where libcurl looks for them.
    await writeFile(join(files.path, '.netrc'), 'machine 127.0.0.1 login ada password s3cret\n', { mode: 0o600 })
    space = await gitWorkspace({ env: { ...GIT_TEST_ENV, HOME: files.path, CURL_CA_BUNDLE: server.ca } })
  })
  afterEach(() => space[Symbol.asyncDispose]())

  it('should be cloned, with the certificates that the daemon was told to trust', async () => {
    const made = await space.clone(`${server.origin}/web/.git`)
    expect(made.repo).toMatchObject({
      mirror: expect.stringMatching(/^web-/),
      start: await git(join(files.path, 'web'), 'rev-parse', 'HEAD'),
    })
    expect(await git(made.workdir, 'symbolic-ref', 'refs/remotes/origin/HEAD')).toBe('refs/remotes/origin/trunk')
  })

  it('should not be cloned from a server that nobody vouches for', async () => {
    await using other = await gitWorkspace()
    await expect(other.clone(`${server.origin}/web/.git`)).rejects.toMatchObject({
      code: 'repo_unavailable',
      message: expect.stringMatching(/certificate/),
    })
  })

  it('should fail without a question when they ask for a password, and get none of the host', async () => {
    await expect(space.clone(`${server.origin}/private/web.git`)).rejects.toMatchObject({
      code: 'repo_unavailable',
      message: expect.stringContaining('could not read Username'),
      next: expect.stringContaining('[git] key'),
    })
    expect(server.credentials).toEqual([])
  })

  it('should not lead to another transport', async () => {
    await expect(space.clone(`${server.origin}/moved/web/.git`)).rejects.toMatchObject({ code: 'repo_unavailable' })
  })

  it('should say that a repository does not exist', async () => {
    await expect(space.clone(`${server.origin}/missing.git`)).rejects.toMatchObject({
      code: 'repo_unavailable',
      message: expect.stringContaining('not found'),
    })
  })

  it('should end when the caller leaves while the server says nothing', async () => {
    const reason = new Error('left')
    const abort = new AbortController()
    const clone = space.clone(`${server.origin}/silent/web.git`, { signal: abort.signal })
    setTimeout(() => abort.abort(reason), 200)
    await expect(clone).rejects.toBe(reason)
  })
})
