import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { findByArgument, findProgram, hasUserManager, startTimeOf } from '../../../../daemon/engine/podman/host.ts'

describe('the host', () => {
  it('should be searched for programs that can be executed', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'loopat-host-'))
    try {
      await writeFile(join(directory, 'plain'), '', { mode: 0o600 })
      await writeFile(join(directory, 'program'), '', { mode: 0o700 })
      const env = { PATH: `/nowhere::${directory}` }
      expect(await findProgram('program', env)).toBe(join(directory, 'program'))
      expect(await findProgram('plain', env)).toBeUndefined()
      expect(await hasUserManager(env)).toBe(false)
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })

  it('should tell processes apart by their start, and find them by an argument', async () => {
    const mark = `mark-${process.pid}`
    const child = spawn('/bin/sh', ['-c', 'read line', 'sh', mark], { stdio: ['pipe', 'ignore', 'ignore'] })
    await once(child, 'spawn')
    await expect.poll(() => findByArgument(mark), { timeout: 5_000 }).toEqual([child.pid])
    expect(await findByArgument(mark.slice(0, -1))).toEqual([])
    expect(await startTimeOf(child.pid ?? 0)).toMatch(/^\d+$/)
    child.stdin.end()
    await once(child, 'exit')
    expect(await findByArgument(mark)).toEqual([])
    expect(await startTimeOf(child.pid ?? 0)).toBeUndefined()
  })
})
