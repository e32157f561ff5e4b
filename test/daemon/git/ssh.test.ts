import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type GitServer, makeKey, startGitServer } from '../../harness/git-server.ts'
import { type GitWorkspace, gitWorkspace } from '../../harness/git-workspace.ts'
import { GIT_TEST_ENV, git, makeRepo, type TemporaryDirectory, temporaryDirectory } from '../../harness/repo.ts'

describe('sources behind ssh', () => {
  let files: TemporaryDirectory
  let server: GitServer
  let source: string
  let space: GitWorkspace

  beforeAll(async () => {
    files = await temporaryDirectory()
    await mkdir(join(files.path, 'sshd'))
    server = await startGitServer(join(files.path, 'sshd'))
    source = await makeRepo(join(files.path, 'src'), { branch: 'trunk' })
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    await files[Symbol.asyncDispose]()
  })
  beforeEach(async () => {
    space = await gitWorkspace({ key: server.key })
  })
  afterEach(() => space[Symbol.asyncDispose]())

  it('should be cloned with the key that is configured, and the host pinned', async () => {
    const made = await space.clone(server.url(source))
    expect(made.repo).toMatchObject({ url: server.url(source), start: await git(source, 'rev-parse', 'HEAD') })
    expect(await git(made.workdir, 'remote', 'get-url', 'origin')).toBe(server.url(source))
    expect(await readFile(join(space.home, 'known_hosts'), 'utf8')).toMatch(
      new RegExp(`^\\[127\\.0\\.0\\.1\\]:${server.port} ssh-ed25519 `),
    )
    expect(await git(made.workdir, 'config', '--list')).not.toContain(server.key)
  })

  it('should be refused to another key, without a question', async () => {
    await using other = await gitWorkspace({ key: await makeKey(join(space.root, 'other')) })
    await expect(other.clone(server.url(source))).rejects.toMatchObject({
      code: 'repo_unavailable',
      message: expect.stringContaining('Permission denied'),
      next: expect.stringContaining('[git] key'),
    })
    expect(await readdir(join(other.home, 'mirrors'))).toEqual([])
  })

  it('should not be reached with the agent of the host, though its key would do', async () => {
    const socket = join(space.root, 'agent')
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      await once(agent.stdout, 'data')
      const add = spawn('ssh-add', ['-q', server.key], { env: { ...GIT_TEST_ENV, SSH_AUTH_SOCK: socket } })
      expect(await once(add, 'exit')).toEqual([0, null])
      const key = await makeKey(join(space.root, 'other'))
      for (const options of [{ key }, {}]) {
        await using other = await gitWorkspace({ ...options, env: { ...GIT_TEST_ENV, SSH_AUTH_SOCK: socket } })
        await expect(other.clone(server.url(source))).rejects.toMatchObject({ code: 'repo_unavailable' })
      }
    } finally {
      agent.kill()
      await once(agent, 'exit')
    }
  })

  it('should say that a repository does not exist', async () => {
    await expect(space.clone(server.url(join(files.path, 'missing')))).rejects.toMatchObject({
      code: 'repo_unavailable',
      message: expect.stringMatching(/missing.*cannot be cloned: .*not appear to be a git repository/),
    })
  })

  it('should end at once when the caller leaves while the server says nothing', async () => {
    const sockets = new Set<Socket>()
    const silent = createServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const address = silent.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const abort = new AbortController()
    const reason = new Error('left')
    const clone = space.clone(`ssh://git@127.0.0.1:${address.port}/web`, { signal: abort.signal })
    const connected = once(silent, 'connection')
    void connected.then(() => abort.abort(reason))
    await expect(clone).rejects.toBe(reason)
    const [socket] = sockets
    if (socket?.closed === false) {
      socket.resume()
      await once(socket, 'close')
    }
    silent.close()
    await once(silent, 'close')
  })

  // The last one: the server is another one afterwards.
  it('should be refused when the host is another one than it was', async () => {
    await space.clone(server.url(source))
    await server.changeHostKey()
    const second = await makeRepo(join(files.path, 'second'))
    await expect(space.clone(server.url(second))).rejects.toMatchObject({
      code: 'repo_unavailable',
      message: expect.stringContaining('Host key verification failed'),
    })
  })
})
