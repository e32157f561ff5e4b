import { randomInt } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LoopInfo } from '../../protocol/loop.ts'
import { eventually, makeWorkspace, processesWith, type TestWorkspace } from '../harness/workspace.ts'

describe('after a crash', () => {
  let workspace: TestWorkspace

  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', 'one')
    await workspace.ok('create', 'two')
    await workspace.ok('create', 'rests', '--no-start')
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  async function states(): Promise<Record<string, string>> {
    const loops = await workspace.json<LoopInfo[]>('ls')
    return Object.fromEntries(loops.map(({ name, state }) => [name, state]))
  }

  async function containerIds(): Promise<string[]> {
    return (await workspace.containers()).map(({ id }) => id).sort()
  }

  it('of the daemon, loops should go on and the next command should find them', async () => {
    const before = await containerIds()
    const uptime = () => workspace.ok('exec', 'one', 'sh', '-c', 'cut -d" " -f22 /proc/1/stat')
    const born = await uptime()
    const service = await workspace.service.pid()
    const pid = await workspace.daemonPid()
    process.kill(pid, 'SIGKILL')
    const { code, stdout, stderr } = await workspace.loopctl(['ls', '--json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: 'loopctl: starting the daemon\n' })
    const loops: LoopInfo[] = JSON.parse(stdout)
    expect(loops.map(({ name, state }) => [name, state])).toEqual([
      ['rests', 'created'],
      ['two', 'running'],
      ['one', 'running'],
    ])
    expect(await workspace.daemonPid()).not.toBe(pid)
    expect(await uptime()).toBe(born)
    expect(await workspace.ok('exec', 'two', 'echo', 'alive')).toBe('alive')
    expect(await containerIds()).toEqual(before)
    expect(await workspace.service.pid()).toBe(service)
  })

  it('of the daemon, its commands should end, and what others left behind should go on', async () => {
    const word = randomInt(10_000, 20_000)
    const sleepers = (kind: number) => processesWith(['sleep', `${kind}${word}`])
    const count = async (...kinds: number[]) => (await Promise.all(kinds.map(sleepers))).flat().length
    const apart = '>/dev/null 2>&1 </dev/null &'
    workspace.spawn(['exec', '--shell', `setsid sleep 1${word} ${apart} sleep 2${word} & sleep 3${word}`, 'two'])
    await workspace.ok('exec', '--shell', `setsid sleep 4${word} ${apart}`, 'two')
    await eventually('they run', async () => (await count(1, 2, 3, 4)) === 4)
    process.kill(await workspace.daemonPid(), 'SIGKILL')
    await workspace.ok('ls')
    await eventually('they have ended', async () => (await count(1, 2, 3)) === 0)
    const [left] = await sleepers(4)
    if (left === undefined) throw new Error('what was left behind has ended')
    expect(process.kill(left)).toBe(true)
  })

  it('of the podman service, it should be back within seconds and the states should be right', async () => {
    const before = await containerIds()
    const pid = await workspace.service.pid()
    if (pid === undefined) throw new Error('no podman service runs')
    process.kill(-pid, 'SIGKILL')
    await eventually('podman answers', async () => {
      const { engine } = await workspace.json<{ engine: { state: string } }>('daemon', 'status')
      return (
        engine.state === 'up' &&
        (await workspace.service.pid()) !== pid &&
        (await workspace.service.pid()) !== undefined
      )
    })
    expect(await states()).toEqual({ one: 'running', two: 'running', rests: 'created' })
    expect(await workspace.ok('exec', 'one', 'echo', 'alive')).toBe('alive')
    expect(await containerIds()).toEqual(before)
    expect(await workspace.ok('daemon', 'logs', '--json', '-n', '9999')).toMatch(/podman/)
  })

  it('of a container, its loop should be shown as stopped and start again', async () => {
    const { container } = await workspace.json<{ container: { name: string; id: string } }>('show', 'one')
    const details = await workspace.engine.container.inspect(container.id)
    if (details?.pid === undefined) throw new Error('the container has no process')
    process.kill(details.pid, 'SIGKILL')
    await eventually('it is seen', async () => (await states()).one === 'stopped')
    expect(await workspace.ok('exec', 'one', 'echo', 'again')).toBe('again')
  })

  it('of both daemon and podman service, everything should come back', async () => {
    const before = await containerIds()
    const service = await workspace.service.pid()
    process.kill(await workspace.daemonPid(), 'SIGKILL')
    if (service !== undefined) process.kill(-service, 'SIGKILL')
    expect(await states()).toEqual({ one: 'running', two: 'running', rests: 'created' })
    expect(await workspace.ok('exec', 'two', 'echo', 'alive')).toBe('alive')
    expect(await containerIds()).toEqual(before)
  })

  it('a stopped daemon should leave loops running, and a new one should know them', async () => {
    const before = await containerIds()
    await workspace.ok('daemon', 'stop')
    expect((await workspace.loopctl(['daemon', 'status'])).code).toBe(6)
    expect(await workspace.ok('daemon', 'logs')).toContain('stopped')
    expect(await workspace.ok('daemon', 'start')).toMatch(/^\d+$/)
    expect(await states()).toMatchObject({ one: 'running', two: 'running' })
    expect(await containerIds()).toEqual(before)
    const pid = await workspace.daemonPid()
    expect(await workspace.ok('daemon', 'restart')).not.toBe(String(pid))
  })

  it('twenty first commands at the same time should share one daemon', async () => {
    await workspace.ok('daemon', 'stop')
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => workspace.loopctl(['daemon', 'start'])))
    expect(outcomes.filter(({ code }) => code !== 0)).toEqual([])
    expect(new Set(outcomes.map(({ stdout }) => stdout)).size).toBe(1)
  })
})
