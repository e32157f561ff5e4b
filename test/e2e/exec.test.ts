import type { ChildProcess } from 'node:child_process'
import { createHash, randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, makeWorkspace, processesWith, residentBytes, type TestWorkspace } from '../harness/workspace.ts'

const MEBIBYTE = 1_048_576

describe('loopctl exec', () => {
  let workspace: TestWorkspace
  let loop: string

  beforeAll(async () => {
    workspace = await makeWorkspace()
    loop = await workspace.ok('create', 'exec')
  })
  afterAll(() => workspace[Symbol.asyncDispose]())

  /** Starts a command whose first output says that it is ready. */
  async function start(...command: string[]): Promise<ChildProcess> {
    const child = workspace.spawn(['exec', loop, ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
    child.stderr?.resume()
    if (child.stdout === null) throw new Error('loopctl has no pipe')
    await once(child.stdout, 'data')
    return child
  }

  it('should keep stdout and stderr apart and hand on the exit code', async () => {
    const script = 'echo out; echo err >&2; exit 7'
    expect(await workspace.loopctl(['exec', loop, '--', 'sh', '-c', script])).toEqual({
      code: 7,
      stdout: 'out\n',
      stderr: 'err\n',
    })
  })

  it('should pass every byte both ways', async () => {
    const input = randomBytes(3 * MEBIBYTE)
    const chunks: Buffer[] = []
    const stdout = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        chunks.push(chunk)
        done()
      },
    })
    expect((await workspace.loopctl(['exec', loop, 'cat'], { input, stdout })).code).toBe(0)
    expect(Buffer.concat(chunks).equals(input)).toBe(true)
  })

  it('should carry 200 MB whole, and the daemon should not hold them', async () => {
    const total = 200 * MEBIBYTE
    const pid = await workspace.daemonPid()
    const block = randomBytes(MEBIBYTE)
    const sent = createHash('sha256')
    const source = Readable.from(
      (function* () {
        for (let bytes = 0; bytes < total; bytes += block.length) {
          sent.update(block)
          yield block
        }
      })(),
    )
    const before = await residentBytes(pid)
    const arrived = createHash('sha256')
    let bytes = 0
    let most = before
    const stdout = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        arrived.update(chunk)
        bytes += chunk.length
        residentBytes(pid).then((now) => {
          most = Math.max(most, now)
          done()
        }, done)
      },
    })
    expect((await workspace.loopctl(['exec', loop, 'cat'], { input: source, stdout })).code).toBe(0)
    expect(bytes).toBe(total)
    expect(arrived.digest('hex')).toBe(sent.digest('hex'))
    expect(most - before).toBeLessThan(64 * MEBIBYTE)
  })

  it('should end a command that would write for ever when nobody reads, and say nothing', async () => {
    const word = `nobody-reads-${randomInt(1e9)}`
    const child = await start('yes', word)
    expect(await processesWith(['yes', word])).toHaveLength(1)
    let stderr = ''
    child.stderr?.on('data', (chunk) => {
      stderr += chunk
    })
    child.stdout?.destroy()
    const [code] = await once(child, 'exit')
    expect({ code, stderr }).toEqual({ code: 141, stderr: '' })
    await eventually('the command inside ends', async () => (await processesWith(['yes', word])).length === 0)
  })

  it.each([
    [['--', 'no-such-program'], 127, 'no-such-program'],
    [['--', '/etc/not-executable'], 126, '/etc/not-executable'],
    [['--', '/'], 126, ''],
    [['--', 'sh', '-c', 'exit 255'], 255, ''],
    [['--', 'sh', '-c', 'kill -9 $$'], 137, ''],
    [['--', 'sh', '-c', 'exit 127'], 127, ''],
  ])('should exit like a shell would: %j with %i', async (command, code, word) => {
    const outcome = await workspace.loopctl(['exec', loop, ...command])
    expect({ ...outcome, stderr: '' }).toEqual({ code, stdout: '', stderr: '' })
    expect(outcome.stderr).toContain(word)
  })

  it('should exit with 125 for failures of its own', async () => {
    expect((await workspace.loopctl(['exec', 'no-such-loop', 'true'])).code).toBe(125)
    expect((await workspace.loopctl(['exec', '--bad-option', loop, 'true'])).code).toBe(125)
    const broken = { env: { XDG_RUNTIME_DIR: '/proc/none', LOOPATD: '/bin/false' } }
    expect((await workspace.loopctl(['exec', loop, 'true'], broken)).code).toBe(125)
  })

  it('should pass arguments, variables, user and directory on', async () => {
    const show = ['sh', '-c', 'echo "$A|$1|$(id -u)|$(pwd)"', 'sh', 'x y\n*']
    expect(await workspace.ok('exec', '-e', 'A=b c', '-w', '/tmp', '-u', 'root', loop, ...show)).toBe(
      'b c|x y\n*|0|/tmp',
    )
    expect(await workspace.ok('exec', loop, 'id', '-u')).toBe('2000')
    expect(await workspace.ok('exec', loop, 'pwd')).toMatch(/^\/loopat\/loop\/.*\/workdir$/)
  })

  it('should give no stdin with --no-stdin', async () => {
    expect((await workspace.loopctl(['exec', '-n', loop, 'cat'], { input: 'text' })).stdout).toBe('')
    expect((await workspace.loopctl(['exec', loop, 'cat'], { input: 'text' })).stdout).toBe('text')
  })

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('should send %s to the command inside', async (signal) => {
    const script = `trap 'echo caught; exit 9' ${signal.slice(3)}; echo ready; while :; do sleep 0.1; done`
    const child = workspace.spawn(['exec', loop, 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    let stdout = ''
    child.stdout?.on('data', (chunk) => {
      stdout += chunk
      if (String(chunk).includes('ready')) child.kill(signal)
    })
    const [code] = await once(child, 'close')
    expect({ code, stdout }).toEqual({ code: 9, stdout: 'ready\ncaught\n' })
  })

  it('should end the command inside with Ctrl-C, not only itself', async () => {
    const seconds = String(randomInt(1e6, 1e9))
    const child = await start('sh', '-c', `echo ready; sleep ${seconds}`)
    await eventually('it runs', async () => (await processesWith(['sleep', seconds])).length === 1)
    child.kill('SIGINT')
    const [code] = await once(child, 'exit')
    expect(code).toBe(130)
    await eventually('the command inside ends', async () => (await processesWith(['sleep', seconds])).length === 0)
  })

  it('should end a command that ignores Ctrl-C on the second one', async () => {
    const seconds = String(randomInt(1e6, 1e9))
    const child = await start('sh', '-c', `trap '' INT; echo ready; sleep ${seconds}`)
    await eventually('it runs', async () => (await processesWith(['sleep', seconds])).length === 1)
    child.kill('SIGINT')
    await sleep(300)
    expect(await processesWith(['sleep', seconds])).toHaveLength(1)
    child.kill('SIGINT')
    const [code] = await once(child, 'exit')
    expect(code).toBe(130)
    await eventually('the command inside ends', async () => (await processesWith(['sleep', seconds])).length === 0)
  })

  it('should end the command and its children inside when it is killed itself', async () => {
    const seconds = String(randomInt(1e6, 1e9))
    const child = await start('sh', '-c', `sleep ${seconds} & sleep ${seconds} & echo ready; wait`)
    await eventually('they run', async () => (await processesWith(['sleep', seconds])).length === 2)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await eventually('the commands inside end', async () => (await processesWith(['sleep', seconds])).length === 0)
  })

  it('should run many commands at once, each with its own output', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, (_, n) => workspace.loopctl(['exec', loop, 'sh', '-c', `echo ${n}; exit ${n}`])),
    )
    expect(outcomes.map(({ code, stdout }) => [code, stdout])).toEqual(outcomes.map((_, n) => [n, `${n}\n`]))
  })

  it('should start a stopped loop, unless told not to', async () => {
    await workspace.ok('stop', loop)
    const refused = await workspace.loopctl(['exec', '--no-start', loop, 'true'])
    expect(refused.code).toBe(125)
    expect(refused.stderr).toContain('loopctl start')
    expect(await workspace.ok('exec', loop, 'echo', 'up')).toBe('up')
  })
})
