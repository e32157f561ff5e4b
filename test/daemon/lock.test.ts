import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tryLock } from '../../daemon/lock.ts'

describe('lock', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-lock-'))
  })
  afterAll(() => rm(directory, { recursive: true }))

  it('should be held by one until it is released', async () => {
    const path = join(directory, 'a')
    const first = await tryLock(path)
    expect(first).toBeDefined()
    expect(await tryLock(path)).toBeUndefined()
    await first?.release()
    const second = await tryLock(path)
    expect(second).toBeDefined()
    await second?.release()
  })

  it('should vanish with a process that is killed', async () => {
    const path = join(directory, 'b')
    const holder = spawn('flock', ['--no-fork', path, 'sleep', '1000'], { stdio: 'ignore' })
    const closed = once(holder, 'close')
    await expect.poll(() => tryLock(path).then((lock) => lock?.release().then(() => 'free') ?? 'held')).toBe('held')
    holder.kill('SIGKILL')
    await closed
    const lock = await tryLock(path)
    expect(lock).toBeDefined()
    await lock?.release()
  })

  it('should not follow a link', async () => {
    const path = join(directory, 'c')
    await symlink('/dev/null', path)
    await expect(tryLock(path)).rejects.toThrow('ELOOP')
  })
})
