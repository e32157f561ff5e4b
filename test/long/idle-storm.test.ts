import { availableParallelism } from 'node:os'
import { connect, type LoopatClient } from '@loopatd/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** Loops that wake at the same time. */
const WAKES = Number(process.env.LOOPAT_LONG_WAKES ?? 50)
/** Loops that run already, and go on with commands. */
const RUNNING = 3
/** Commands by which the quiet is judged. */
const QUIET_COMMANDS = 300
/** Loops that are made at the same time. */
const PARALLEL = 4

/** The value that 99 of 100 are not above. */
const p99 = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.ceil(values.length * 0.99) - 1] ?? Number.NaN
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN

describe('many loops that wake at once', () => {
  let workspace: TestWorkspace
  let client: LoopatClient
  const sleepers = Array.from({ length: WAKES }, (_unused, index) => `sleeper-${index}`)
  const awake = Array.from({ length: RUNNING }, (_unused, index) => `awake-${index}`)

  beforeAll(async () => {
    workspace = await makeWorkspace({ config: 'idle.after = "1h"\n' })
    await workspace.ok('daemon', 'start')
    client = await connect({ socket: workspace.socket })
    const queue = [...sleepers, ...awake]
    const worker = async () => {
      for (let name = queue.pop(); name !== undefined; name = queue.pop()) await client.loop.create({ name })
    }
    await Promise.all(Array.from({ length: PARALLEL }, worker))
  }, 600_000)
  afterAll(async () => {
    await client.close()
    await workspace[Symbol.asyncDispose]()
  }, 600_000)

  async function exec(loop: string): Promise<number> {
    const begin = performance.now()
    const { exitCode, stdout } = await client.exec.run({ loop, command: ['echo', loop] })
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: `${loop}\n` })
    return performance.now() - begin
  }

  /** Runs commands in the loops that are awake, one after the other in each, until something is over. */
  async function measure(isOver: (count: number) => boolean): Promise<number[]> {
    const taken: number[] = []
    const worker = async (loop: string) => {
      while (!isOver(taken.length)) taken.push(await exec(loop))
    }
    await Promise.all(awake.map(worker))
    return taken
  }

  async function sleep(): Promise<void> {
    const queue = [...sleepers]
    const worker = async () => {
      for (let loop = queue.pop(); loop !== undefined; loop = queue.pop()) {
        await client.loop.stop({ loop, graceSeconds: 0 })
      }
    }
    await Promise.all(Array.from({ length: PARALLEL }, worker))
  }

  it.each(['by commands', 'by starts'] as const)(
    `should all succeed, ${WAKES} of them, %s, while commands go on in those that run`,
    async (how) => {
      await sleep()
      const quiet = await measure((count) => count >= QUIET_COMMANDS)
      let isAwake = false
      const begin = performance.now()
      const since = async (work: Promise<unknown>) => {
        await work
        return performance.now() - begin
      }
      const wake = (loop: string) => (how === 'by starts' ? client.loop.start({ loop }) : exec(loop))
      const waking = Promise.all(sleepers.map((loop) => since(wake(loop)))).finally(() => {
        isAwake = true
      })
      const [each, busy] = await Promise.all([waking, measure(() => isAwake)])
      const { loops } = await client.loop.list({})
      expect(loops.filter(({ state }) => state !== 'running')).toEqual([])
      const ms = (value: number) => `${value.toFixed(1)} ms`
      console.log(
        [
          `${WAKES} woken ${how} on ${availableParallelism()} processors:`,
          `first ${ms(Math.min(...each))}, median ${ms(median(each))}, last ${ms(Math.max(...each))};`,
          `commands meanwhile: ${busy.length}, median ${ms(median(busy))}, p99 ${ms(p99(busy))};`,
          `in the quiet: ${quiet.length}, median ${ms(median(quiet))}, p99 ${ms(p99(quiet))};`,
          `p99 ${(p99(busy) / p99(quiet)).toFixed(2)} times`,
        ].join(' '),
      )
    },
  )
})
