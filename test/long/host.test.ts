import { createHash } from 'node:crypto'
import { text } from 'node:stream/consumers'
import { connect } from '@loopatd/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type HostCommands, hostCommands } from '../harness/host-commands.ts'

/** Commands one after the other, each with a megabyte of output. */
const RUNS = Number(process.env.LOOPAT_LONG_HOST_RUNS ?? 200)
/** How many run at the same time. */
const AT_ONCE = 4

describe('a command of the host', () => {
  let host: HostCommands
  const loop = 'floods'

  beforeAll(async () => {
    host = await hostCommands({ config: 'max_per_minute = 100000\n' })
    await host.program('megabyte', 'seq 200000 | head -c 1000000')
    await host.workspace.ok('create', loop)
    await host.workspace.ok('host', 'grant', loop, 'megabyte')
  })
  afterAll(() => host[Symbol.asyncDispose](), 120_000)

  const lines = Array.from({ length: 200_000 }, (_, index) => `${index + 1}\n`)
  const wanted = createHash('md5').update(lines.join('').slice(0, 1_000_000)).digest('hex')

  it(`should lose no byte of a megabyte, ${RUNS} times`, async () => {
    const each = `i=0; while [ $i -lt ${Math.ceil(RUNS / AT_ONCE)} ]; do loopat-host megabyte | md5sum; i=$((i+1)); done`
    const { code, stdout, stderr } = await host.inside(
      loop,
      `for n in ${Array.from({ length: AT_ONCE }, (_, index) => index).join(' ')}; do (${each}) & done; wait`,
    )
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const sums = stdout.trim().split('\n')
    expect(sums.length).toBe(Math.ceil(RUNS / AT_ONCE) * AT_ONCE)
    expect(new Set(sums)).toEqual(new Set([`${wanted}  -`]))
    const ends = (await host.log(loop)).filter(({ event }) => event === 'end')
    expect(ends.filter(({ code: end, bytesOut }) => end !== 0 || bytesOut !== 1_000_000)).toEqual([])
  })

  it(`should lose none on a terminal, ${Math.ceil(RUNS / 10)} times`, async () => {
    await using client = await connect({ socket: host.workspace.socket })
    const command = { loop, command: ['loopat-host', 'megabyte'], tty: { cols: 80, rows: 24 } }
    for (let run = 0; run < RUNS / 10; run += 1) {
      await using process = await client.exec.spawn(command)
      const [output, { exitCode }] = await Promise.all([text(process.stdout), process.exit])
      expect(exitCode).toBe(0)
      // A terminal makes two characters of each line break.
      expect(createHash('md5').update(output.replaceAll('\r\n', '\n')).digest('hex')).toBe(wanted)
    }
  })
})
