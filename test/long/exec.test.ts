import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { isDeepStrictEqual } from 'node:util'
import { connect, type LoopatClient } from '@loopatd/client'
import { isLoopatError } from '@loopatd/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { trace } from '../harness/leftover.ts'
import { Random } from '../harness/random.ts'
import { eventually, makeWorkspace, residentBytes, type TestWorkspace } from '../harness/workspace.ts'

/** Within how many milliseconds nothing is left that waits for further commands. */
const FORGOTTEN_MS = 150_000
const EXECS = Number(process.env.LOOPAT_LONG_EXECS ?? 1000)
/** How many one client wants at the same time. */
const QUEUED = Math.min(10 * EXECS, 10_000)
/** How long endless output is not read, in seconds. */
const DEAF_SECONDS = Number(process.env.LOOPAT_LONG_DEAF_SECONDS ?? 20)
const PARALLEL = 8
const MEBIBYTE = 1_048_576
/** The daemon may hold this much more for clients that never read, in bytes. */
const GROWTH_BYTES = 32 * MEBIBYTE
/** Stopping takes its grace and a bit, in milliseconds. */
const STOP_MS = 10_000

describe('commands without number or end', () => {
  const random = Random.fromEnvironment('LOOPAT_LONG_SEED')
  let workspace: TestWorkspace
  let client: LoopatClient

  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', 'busy')
    client = await connect({ socket: workspace.socket })
  })
  afterAll(async () => {
    await client.close()
    await workspace[Symbol.asyncDispose]()
  })

  async function digest(output: Readable): Promise<string> {
    const hash = createHash('sha256')
    for await (const chunk of output) hash.update(chunk)
    return hash.digest('hex')
  }

  async function runMany(count: number): Promise<void> {
    let left = count
    const worker = async () => {
      for (; left > 0; ) {
        left -= 1
        await runOne()
      }
    }
    await Promise.all(Array.from({ length: PARALLEL }, worker))
  }

  /** One command with a code and an amount of output of its own. Small outputs are the usual ones. */
  async function runOne(): Promise<void> {
    const code = random.below(126)
    const bytes = random.below(random.pick([10, 1000, 100_000, 5_000_000]))
    const tty = random.below(4) === 0 ? { tty: { cols: 80, rows: 24 } } : {}
    const script = `yes loopat | head -c ${bytes}; exit ${code}`
    await using process = await client.exec.spawn({ loop: 'busy', command: ['sh', '-c', script], ...tty })
    // On a terminal the end of input is typed; what is typed while a command ends can cost the end of its output.
    if (!('tty' in tty)) process.stdin.end()
    const [out, err, exit] = await Promise.all([digest(process.stdout), digest(process.stderr), process.exit])
    const text = 'loopat\n'.repeat(Math.ceil(bytes / 7)).slice(0, bytes)
    // A terminal writes line feeds as two characters.
    const expected = 'tty' in tty ? text.replaceAll('\n', '\r\n') : text
    const what = `seed ${random.seed}: ${script} ${JSON.stringify(tty)}`
    expect({ exitCode: exit.exitCode, out, err }, what).toEqual({
      exitCode: code,
      out: createHash('sha256').update(expected).digest('hex'),
      err: createHash('sha256').digest('hex'),
    })
  }

  it(`should end with their own code and whole output, and leave nothing behind, ${EXECS} times, ${PARALLEL} at once`, async () => {
    const { loop } = await client.loop.get({ loop: 'busy' })
    const look = () => trace(workspace, loop.id)
    // Podman watches a command for a while after its end, and shells wait a minute for the next one.
    const isForgotten = async () => {
      const { watchers, files, descriptors } = await look()
      return watchers === 1 && ![...files, ...descriptors].some((name) => name.includes('/room/'))
    }
    // What is made once, for the first commands, may stay.
    await runMany(2 * PARALLEL)
    await eventually('the first commands are forgotten', isForgotten, { ms: FORGOTTEN_MS })
    let before = await look()
    // The daemon asks podman each second, for a moment with one socket more: twice the same is what stays.
    await eventually('two looks are alike', async () => {
      const last = before
      before = await look()
      return isDeepStrictEqual(before, last)
    })
    await runMany(EXECS)
    await eventually('all commands are forgotten', isForgotten, { ms: FORGOTTEN_MS })
    await expect.poll(look, { timeout: 30_000, interval: 100 }).toEqual(before)
  })

  it(`should be refused when one client wants ${QUEUED} at once, and the rest should run`, async () => {
    const greedy = await connect({ socket: workspace.socket })
    const run = () => greedy.exec.run({ loop: 'busy', command: ['true'] })
    const outcomes = await Promise.allSettled(Array.from({ length: QUEUED }, run))
    await greedy.close()
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []))
    expect(refused.every((error) => isLoopatError(error, 'too_many_requests'))).toBe(true)
    expect(outcomes.length - refused.length).toBeGreaterThanOrEqual(64)
    expect(await workspace.ok('exec', 'busy', 'echo', 'fine')).toBe('fine')
  })

  it(`should cost little memory when ${PARALLEL} clients never read, and not keep their loop from stopping`, async () => {
    await client.close()
    // A daemon that has worked before has memory to spare.
    await workspace.ok('daemon', 'restart')
    client = await connect({ socket: workspace.socket })
    const pid = await workspace.daemonPid()
    const before = await residentBytes(pid)
    const clients = await Promise.all(Array.from({ length: PARALLEL }, () => connect({ socket: workspace.socket })))
    const commands = await Promise.all(clients.map((deaf) => deaf.exec.spawn({ loop: 'busy', command: ['yes'] })))
    let growth = 0
    for (let second = 0; second < DEAF_SECONDS; second += 1) {
      await new Promise((resolve) => setTimeout(resolve, 1000))
      growth = Math.max(growth, (await residentBytes(pid)) - before)
      await client.loop.list()
    }
    console.log(`memory grew by at most ${(growth / MEBIBYTE).toFixed(1)} MiB`)
    const began = performance.now()
    await client.loop.stop({ loop: 'busy', graceSeconds: 1 })
    const stopMs = performance.now() - began
    console.log(`stopping the loop with a grace of a second took ${Math.round(stopMs)} ms`)
    await eventually(
      'the loop is stopped',
      async () => (await client.loop.get({ loop: 'busy' })).loop.state === 'stopped',
    )
    await Promise.all(clients.map((deaf) => deaf.close()))
    const ends = await Promise.allSettled(commands.map((command) => command.exit))
    expect(ends.filter((end) => end.status === 'fulfilled' && end.value.exitCode === 0)).toEqual([])
    expect(growth).toBeLessThan(GROWTH_BYTES)
    expect(stopMs).toBeLessThan(STOP_MS)
  })
})
