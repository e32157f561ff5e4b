import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../harness/random.ts'
import { vanish } from '../harness/vanish.ts'
import { eventually, makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

/** There are more of them in test/long. */
describe('commands whose clients vanish', () => {
  let workspace: TestWorkspace

  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', '--name', 'left')
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  it('should end with all that they have started', async () => {
    const random = Random.fromEnvironment('LOOPAT_VANISH_SEED')
    const how = { count: 15, parallel: 5, stoppedMs: 1500 }
    const { leftovers, seen } = await vanish({ workspace, loop: 'left', random, ...how })
    expect(seen).toBeGreaterThan(5)
    await eventually(`nothing is left, seed ${random.seed}`, async () => (await leftovers()).length === 0)
    expect(await workspace.ok('exec', 'left', 'echo', 'fine')).toBe('fine')
  })
})
