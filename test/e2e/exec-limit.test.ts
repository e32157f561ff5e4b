import type { ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type LoopatClient } from '@loopatd/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../harness/random.ts'
import { vanish } from '../harness/vanish.ts'
import { eventually, makeWorkspace, processesWith, residentBytes, type TestWorkspace } from '../harness/workspace.ts'

const MEBIBYTE = 1_048_576

/** Two sleeping processes that nothing else looks like. */
function sleepers(): { readonly script: string; readonly count: () => Promise<number> } {
  const seconds = String(randomInt(1e6, 1e9))
  return {
    script: `sleep ${seconds} & sleep ${seconds}`,
    count: async () => (await processesWith(['sleep', seconds])).length,
  }
}

describe('a command with limits', () => {
  let workspace: TestWorkspace
  let client: LoopatClient

  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', '--name', 'limits')
    client = await connect({ socket: workspace.socket })
  })
  afterAll(async () => {
    await client.close()
    await workspace[Symbol.asyncDispose]()
  })

  const exec = (...args: string[]) => workspace.loopctl(['exec', ...args])

  it('should end with its time limit, for its children, too, and within a second of it', async () => {
    const { script, count } = sleepers()
    const { code, stdout } = await exec('--json', '--timeout', '1s', 'limits', '--', 'sh', '-c', script)
    const end: { durationMs: number } = JSON.parse(stdout)
    expect({ code, end }).toMatchObject({ code: 124, end: { timedOut: true, exitCode: 137 } })
    expect(end.durationMs).toBeLessThan(2000)
    expect(await count()).toBe(0)
  })

  it('should lose nothing that was written until the time was over', async () => {
    const shell = ['--shell', 'seq 100; echo err >&2; sleep 1000', 'limits']
    const [streamed, collected] = await Promise.all([
      exec('--timeout', '3s', ...shell),
      client.exec.run({ loop: 'limits', shell: 'echo out; sleep 1000', timeoutMs: 3000 }),
    ])
    expect(streamed).toEqual({
      code: 124,
      stdout: Array.from({ length: 100 }, (_, n) => `${n + 1}\n`).join(''),
      stderr: 'err\nloopctl: the command was ended: it took longer than 3s\n',
    })
    expect(collected).toMatchObject({ exitCode: 137, timedOut: true, stdout: 'out\n' })
  })

  it('should not have its time counted while the loop starts', async () => {
    await workspace.ok('stop', 'limits')
    const podman = await workspace.service.pid()
    if (podman === undefined) throw new Error('no podman service runs')
    // A start that takes longer than the command may, since podman does nothing for a while.
    process.kill(-podman, 'SIGSTOP')
    const up = exec('--timeout', '2s', 'limits', 'echo', 'up')
    await sleep(3000)
    process.kill(-podman, 'SIGCONT')
    expect(await up).toMatchObject({ code: 0, stdout: 'up\n' })
  })

  it.each<[string, (child: ChildProcess) => void, number | null]>([
    ['Ctrl-C', (child) => child.kill('SIGINT'), 130],
    ['kill -9 of the client', (child) => child.kill('SIGKILL'), null],
  ])('should end with %s, and so should its children', async (_what, act, expected) => {
    const { script, count } = sleepers()
    const child = workspace.spawn(['exec', 'limits', 'sh', '-c', script], { stdio: 'ignore' })
    await eventually('they run', async () => (await count()) === 2)
    act(child)
    const [code] = await once(child, 'exit')
    expect(code).toBe(expected)
    await eventually('they end', async () => (await count()) === 0)
  })

  it('should end with the cancellation of its request, and so should its children', async () => {
    for (const isStreamed of [true, false]) {
      const { script, count } = sleepers()
      const cancel = new AbortController()
      const params = { loop: 'limits', shell: script }
      const end = isStreamed
        ? client.exec.spawn(params, { signal: cancel.signal }).then(({ exit }) => exit)
        : client.exec.run(params, { signal: cancel.signal })
      end.catch(() => undefined)
      await eventually('they run', async () => (await count()) === 2)
      cancel.abort()
      await expect(end).rejects.toMatchObject({ code: 'cancelled' })
      await eventually('they end', async () => (await count()) === 0)
    }
  })

  it('should wait for a client that does not read, and not make the daemon grow', async () => {
    const script = `head -c ${100 * MEBIBYTE} /dev/zero; touch /tmp/written`
    const written = async () =>
      (await client.exec.run({ loop: 'limits', shell: 'test -e /tmp/written' })).exitCode === 0
    const pid = await workspace.daemonPid()
    const before = await residentBytes(pid)
    await using command = await client.exec.spawn({ loop: 'limits', shell: script })
    command.stdin.end()
    await sleep(1500)
    expect(await written()).toBe(false)
    expect((await residentBytes(pid)) - before).toBeLessThan(32 * MEBIBYTE)
    command.stderr.resume()
    let bytes = 0
    for await (const chunk of command.stdout) bytes += chunk.length
    expect([bytes, (await command.exit).exitCode, await written()]).toEqual([100 * MEBIBYTE, 0, true])
  })

  it('should end with all that it has started when its client vanishes', async () => {
    // There are more of them in test/long, and such that are stopped.
    const random = Random.fromEnvironment('LOOPAT_VANISH_SEED')
    const how = { count: 30, parallel: 8, ways: ['close', 'kill'] } as const
    using vanished = await vanish({ workspace, loop: 'limits', random, ...how })
    const { leftovers, seen } = vanished
    expect(seen).toBeGreaterThan(how.count / 2)
    await eventually(`nothing is left, seed ${random.seed}`, async () => (await leftovers()).length === 0)
    expect(await workspace.ok('exec', 'limits', 'echo', 'fine')).toBe('fine')
  })

  it('should have its output shortened to whole lines of both ends, each stream by itself', async () => {
    const script = 'seq 100000; seq 7 >&2'
    const { code, stdout, stderr } = await workspace.loopctl([
      'exec',
      '--max-output',
      '1k',
      '--shell',
      script,
      'limits',
    ])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '1\n2\n3\n4\n5\n6\n7\n' })
    expect(stdout).toMatch(/^1\n2\n3\n[0-9\n]+\n\n\[\d+ lines, \d+ bytes left out; .*\]\n\n[0-9\n]+\n99999\n100000\n$/)
    expect(stdout.length).toBeLessThan(1100)
  })

  it('should have its output shortened in small memory, whatever there is of it', async () => {
    const pid = await workspace.daemonPid()
    const before = await residentBytes(pid)
    const line = 'yes xxxxxxxxxxxxxxxxxxxxxxx | tr -d "\\n" | head -c 60000000; echo END'
    const { stdout } = await workspace.loopctl(['exec', '--max-output', '64k', '--shell', line, 'limits'])
    expect(stdout).toMatch(/^x{29491}\n\n\[59941022 bytes left out; .*\]\n\nx+END\n$/)
    expect((await residentBytes(pid)) - before).toBeLessThan(64 * MEBIBYTE)
  })

  it('should give one JSON object on demand, with code and both outputs', async () => {
    const script = 'cat; echo err >&2; exit 3'
    const { code, stdout, stderr } = await workspace.loopctl(['exec', '--json', '--shell', script, 'limits'], {
      input: 'in "é"\n',
    })
    expect({ code, stderr }).toEqual({ code: 3, stderr: '' })
    expect(JSON.parse(stdout)).toEqual({
      exitCode: 3,
      timedOut: false,
      durationMs: expect.any(Number),
      droppedBytes: 0,
      linesOmitted: 0,
      stdout: 'in "é"\n',
      stderr: 'err\n',
    })
  })
})
