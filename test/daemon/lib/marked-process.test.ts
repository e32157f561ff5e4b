import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { endMarked, killMarked, type Mark, markOfCall, markOfHome } from '../../../daemon/lib/marked-process.ts'

describe('marked processes', () => {
  const children: ChildProcess[] = []
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
  })

  async function start(mark: Mark, script = 'echo; exec sleep 60'): Promise<ChildProcess> {
    const env = { PATH: process.env.PATH ?? '', ...mark }
    const child = spawn('sh', ['-c', script], { env, detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
    children.push(child)
    await once(child.stdout, 'data')
    return child
  }

  const home = `/nonexistent/home-${process.pid}`

  it('should be ended by their home, with what they started, whatever call they belong to', async () => {
    const started = await Promise.all([
      start({ ...markOfHome(home), ...markOfCall('a') }),
      start(markOfHome(home), 'sleep 60 & echo; exec sleep 60'),
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
    const exited = once(wanted, 'exit')
    expect(await killMarked(markOfCall('b'))).toEqual([wanted.pid])
    await exited
    expect(other.signalCode).toBeNull()
  })

  it('should be found wherever the mark is in the environment, and only by the whole of it', async () => {
    const mark = markOfCall('d')
    const [pair = ''] = Object.entries(mark).map(([name, value]) => `${name}=${value}`)
    /** @param before bytes of the environment before the mark */
    const startBehind = async (before: number, name = '', value = '') => {
      const filler = before === 0 ? {} : { A: 'x'.repeat(before - 3) }
      const env = { ...filler, [`${name}${Object.keys(mark)[0]}`]: `d${value}`, Z: 'x'.repeat(100_000) }
      const child = spawn('/bin/sleep', ['60'], { env, detached: true, stdio: 'ignore' })
      children.push(child)
      await once(child, 'spawn')
      return child
    }
    const borders = [-pair.length - 1, -pair.length, -pair.length + 1, -5, -1, 0, 1]
    const places = [0, ...borders.map((place) => 65_536 + place)]
    const wanted = await Promise.all(places.map((place) => startBehind(place)))
    const others = await Promise.all([startBehind(10, 'X'), startBehind(10, '', 'e'), startBehind(0, 'X')])
    const pids = (all: readonly ChildProcess[]) => all.map(({ pid = 0 }) => pid).sort((a, b) => a - b)
    expect((await killMarked(mark)).sort((a, b) => a - b)).toEqual(pids(wanted))
    expect(others.map(({ signalCode }) => signalCode)).toEqual([null, null, null])
  })

  it('should be looked for in few processes at a time', async () => {
    const many = await Promise.all(Array.from({ length: 20 }, () => start(markOfCall('e'))))
    let isOver = false
    const search = killMarked(markOfCall('e')).finally(() => {
      isOver = true
    })
    let most = 0
    for (; !isOver; await turn()) most = Math.max(most, openEnvironments())
    expect(await search).toHaveLength(many.length)
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThanOrEqual(8)
  })
})

/** How many environments of processes this one has open. */
function openEnvironments(): number {
  const files = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return files.filter((path) => path.endsWith('/environ')).length
}
