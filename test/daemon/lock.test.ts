import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Lifetime } from '../../daemon/lib/lifetime.ts'
import { takeLocks, tryLock } from '../../daemon/lock.ts'

describe('lock', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-lock-'))
  })
  afterAll(() => rm(directory, { recursive: true }))

  it('should be held by one until it is released', async () => {
    const path = join(directory, 'a')
    const first = await tryLock(path, '/s')
    expect(first).toBeDefined()
    expect(await tryLock(path, '/s')).toBeUndefined()
    await first?.release()
    const second = await tryLock(path, '/s')
    expect(second).toBeDefined()
    await second?.release()
  })

  it('should vanish with a process that is killed', async () => {
    const path = join(directory, 'b')
    const holder = spawn('flock', ['--no-fork', path, 'sleep', '1000'], { stdio: 'ignore' })
    const closed = once(holder, 'close')
    await expect
      .poll(() => tryLock(path, '/s').then((lock) => lock?.release().then(() => 'free') ?? 'held'), { timeout: 5_000 })
      .toBe('held')
    holder.kill('SIGKILL')
    await closed
    const lock = await tryLock(path, '/s')
    expect(lock).toBeDefined()
    await lock?.release()
  })

  it('should not follow a link', async () => {
    const path = join(directory, 'c')
    await symlink('/dev/null', path)
    await expect(tryLock(path, '/s')).rejects.toMatchObject({
      code: 'storage_failed',
      message: `${path} cannot be locked: it is a symbolic link`,
    })
  })

  it('should say so when there is something that no daemon makes', async () => {
    const path = join(directory, 'd')
    await mkdir(path)
    await expect(tryLock(path, '/s')).rejects.toMatchObject({ code: 'storage_failed', next: expect.any(String) })
  })

  it('should say who holds it, and where that listens', async () => {
    const path = join(directory, 'e')
    await writeFile(path, 'what an older daemon, or a crash, left there, longer than what comes now: '.repeat(9))
    await using first = new Lifetime()
    const workspace = { name: 'w', home: '/h', socket: '/there/w/loopatd.sock' }
    await takeLocks([path], workspace, first)
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ pid: process.pid, socket: workspace.socket })
    await using second = new Lifetime()
    await expect(takeLocks([path], workspace, second)).rejects.toMatchObject({
      code: 'already_running',
      message: `another daemon serves the workspace w (/h): pid ${process.pid}, on /there/w/loopatd.sock`,
      next: expect.stringContaining('loopctl daemon stop'),
    })
    await expect(takeLocks([path], { ...workspace, socket: '/here' }, second)).rejects.toMatchObject({
      next: expect.stringMatching(new RegExp(`XDG_RUNTIME_DIR.*kill ${process.pid}$`)),
    })
    for (const stale of ['{"pid":', JSON.stringify({ pid: process.ppid, socket: '/there' })]) {
      await writeFile(path, stale)
      await expect(takeLocks([path], workspace, second)).rejects.toMatchObject({
        message: 'another daemon serves the workspace w (/h)',
      })
    }
  })
})
