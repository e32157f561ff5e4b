import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../harness/random.ts'
import { vanish } from '../harness/vanish.ts'
import { makeWorkspace, residentBytes, type TestWorkspace } from '../harness/workspace.ts'

const CLIENTS = Number(process.env.LOOPAT_LONG_CLIENTS ?? 100)
/** How long a third of the clients is stopped before it is killed, in seconds. */
const STOPPED_SECONDS = Number(process.env.LOOPAT_LONG_STOPPED_SECONDS ?? 10)
const PARALLEL = 24
/** TERM, KILL, and the time in between. */
const END_MS = 10_000
const GROWTH_BYTES = 64 * 1_048_576

describe('commands without number whose clients vanish', () => {
  const random = Random.fromEnvironment('LOOPAT_LONG_SEED')
  let workspace: TestWorkspace

  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', '--name', 'left')
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  it(`should leave nothing ten seconds later, ${CLIENTS} times`, async () => {
    const how = { workspace, loop: 'left', random, parallel: PARALLEL, stoppedMs: STOPPED_SECONDS * 1000 }
    // A daemon that has worked before has memory to spare.
    await vanish({ ...how, count: PARALLEL, stoppedMs: 0 })
    const pid = await workspace.daemonPid()
    const before = await residentBytes(pid)
    const { leftovers, seen } = await vanish({ ...how, count: CLIENTS })
    await sleep(END_MS)
    expect(seen).toBeGreaterThan(PARALLEL)
    expect(await leftovers(), `seed ${random.seed}`).toEqual([])
    expect((await residentBytes(pid)) - before).toBeLessThan(GROWTH_BYTES)
    expect(await workspace.ok('exec', 'left', 'echo', 'fine')).toBe('fine')
  })
})
