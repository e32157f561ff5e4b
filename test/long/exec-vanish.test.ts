import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TestTerminal } from '../harness/pty.ts'
import { Random } from '../harness/random.ts'
import { vanish } from '../harness/vanish.ts'
import { makeWorkspace, residentBytes, type TestWorkspace } from '../harness/workspace.ts'

const CLIENTS = Number(process.env.LOOPAT_LONG_CLIENTS ?? 100)
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
    const how = { workspace, loop: 'left', random, parallel: PARALLEL }
    // A daemon that has worked before has memory to spare.
    await vanish({ ...how, count: PARALLEL, ways: ['close', 'kill'] })
    const pid = await workspace.daemonPid()
    const before = await residentBytes(pid)
    using vanished = await vanish({ ...how, count: CLIENTS })
    const { leftovers, seen } = vanished
    await sleep(END_MS)
    expect(seen).toBeGreaterThan(CLIENTS / 2)
    expect(await leftovers(), `seed ${random.seed}`).toEqual([])
    expect((await residentBytes(pid)) - before).toBeLessThan(GROWTH_BYTES)
    expect(await workspace.ok('exec', 'left', 'echo', 'fine')).toBe('fine')
  })

  it('should keep the command of a client that is busy elsewhere, or was stopped by Ctrl-Z', async () => {
    const script = 'sleep 75; echo ended; exit 5'
    const terminal = new TestTerminal(
      `set -m; '${workspace.program}' exec left sh -c 'echo began; ${script}'; sleep 70; fg; echo "(code $?)"`,
      workspace.env,
    )
    await terminal.expect(/began/)
    terminal.type('\x1a')
    const quiet = await workspace.loopctl(['exec', 'left', 'sh', '-c', script])
    expect(quiet).toEqual({ code: 5, stdout: 'ended\n', stderr: '' })
    await terminal.expect(/ended\r\n\(code 5\)/)
  })
})
