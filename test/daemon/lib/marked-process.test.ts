import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, it } from 'vitest'
import { endMarked, killMarked, type Mark, markOfCall, markOfHome } from '../../../daemon/lib/marked-process.ts'

describe('marked processes', () => {
  const children: ChildProcess[] = []
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
  })

  async function start(mark: Mark, script = 'exec sleep 60'): Promise<ChildProcess> {
    const env = { PATH: process.env.PATH ?? '', ...mark }
    const child = spawn('sh', ['-c', `echo; ${script}`], { env, detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
    children.push(child)
    await once(child.stdout, 'data')
    return child
  }

  const home = `/nonexistent/home-${process.pid}`

  it('should be ended by their home, with what they started, whatever call they belong to', async () => {
    const started = await Promise.all([
      start({ ...markOfHome(home), ...markOfCall('a') }),
      start(markOfHome(home), 'sleep 60 & exec sleep 60'),
    ])
    const others = await Promise.all([start(markOfHome(`${home}-2`)), start(markOfCall('a'))])
    expect(await endMarked(markOfHome(home))).toBe(3)
    for (const child of started) expect(child.signalCode ?? (await once(child, 'exit'))[1]).toBe('SIGKILL')
    expect(others.map(({ exitCode, signalCode }) => exitCode ?? signalCode)).toEqual([null, null])
    expect(await endMarked(markOfHome(home))).toBe(0)
  })

  it('should be killed by their call, and no others of their home', async () => {
    const wanted = await start({ ...markOfHome(home), ...markOfCall('b') })
    const other = await start({ ...markOfHome(home), ...markOfCall('c') })
    expect(await killMarked(markOfCall('b'))).toEqual([wanted.pid])
    await once(wanted, 'exit')
    expect(other.signalCode).toBeNull()
  })
})
