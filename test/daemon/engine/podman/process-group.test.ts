import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { findGroup, hasMembers, signalGroup } from '../../../../daemon/engine/podman/process-group.ts'

describe('process groups', () => {
  it('should signal all of a group, and know when nobody is left', async () => {
    const child = start('sleep 100 & sleep 100 & echo ready; wait')
    await readLine(child)
    const group = await findGroup(child.pid ?? 0, process.pid)
    expect(group).toMatchObject({ id: child.pid, namespace: expect.stringMatching(/^pid:/) })
    if (group === undefined) return
    const ended = once(child, 'exit')
    expect(await signalGroup(group, 'SIGTERM')).toBe(true)
    expect(await ended).toEqual([null, 'SIGTERM'])
    await expect.poll(() => hasMembers(group), { timeout: 5_000 }).toBe(false)
    expect(await signalGroup(group, 'SIGKILL')).toBe(false)
  })

  it('should find nothing of a process that is gone, and never its own group', async () => {
    const child = start('exit 0')
    await once(child, 'exit')
    expect(await findGroup(child.pid ?? 0, process.pid)).toBeUndefined()
  })

  it('should not touch a group with the number in another namespace', async () => {
    const child = start('sleep 100')
    const group = { id: child.pid ?? 0, namespace: 'pid:[1]' }
    expect(await signalGroup(group, 'SIGKILL')).toBe(false)
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
})

function start(script: string): ChildProcess {
  return spawn('/bin/sh', ['-c', script], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
}

async function readLine(child: ChildProcess): Promise<void> {
  if (child.stdout !== null) await once(child.stdout, 'data')
}
